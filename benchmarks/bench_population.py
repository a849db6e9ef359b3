"""A sweep of 16 small runs on two cores: two processes with the members that `auto` puts together, against a naive script.

    python benchmarks/bench_population.py [SHAPE ...]

The naive script (naive_gpt.py) is one process with two threads, torch's default AdamW, one member after another. Both sides
stay loaded and run in turn, a short stretch each, on the same text, architecture, batch and clipping. Ratios are of wall
time within a round. Every round notes what share of the machine other processes had: threads that wait for one another
suffer from those much more than processes do, so the figure is that of the quietest rounds, and there is none where those
were not quiet. `one_core` is a member's step on one thread by CPU time, which neighbours disturb little: what two processes
gain over one and two threads over one is not in it.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness

SHAPES: dict[str, dict[str, int]] = {
    "L2 d32 T32 B4": {"width": 32, "seq_len": 32, "batch": 4},
    "L2 d64 T64 B4": {"width": 64, "seq_len": 64, "batch": 4},
    "L2 d64 T128 B16": {"width": 64, "seq_len": 128, "batch": 16},
}
TARGETS = {"L2 d32 T32 B4": 5.0, "L2 d64 T128 B16": 1.3}
MEMBERS, PROCESSES, LAYERS, HEADS = 16, 2, 2, 4
STRETCH = 0.25  # seconds that a side runs at a time, about
ROUNDS, QUIET = 40, 12  # rounds, and how many of the quietest make the figure
BUSY = 0.15  # the most that others may have of the cores in a quiet round
TEXT = harness.DATA / "text-corpora" / "tinyshakespeare" / "input.txt"


def main() -> None:
    wanted = sys.argv[1:] or list(SHAPES)
    results: dict[str, Any] = {}
    for name in wanted:
        results[name] = measure(SHAPES[name]) | ({"target": TARGETS[name]} if name in TARGETS else {})
        print(name, {k: v for k, v in results[name].items() if k != "rounds"}, flush=True)
    harness.write(
        "population",
        ["forescale", "torch"],
        members=MEMBERS,
        processes=PROCESSES,
        rival="naive_gpt.py: one process, two threads, torch.optim.AdamW by default, one member after another",
        results=results,
    )


def measure(shape: dict[str, int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        naive = [Side(run_naive, shape, folder, threads=2)]
        plain = [Side(run_naive, shape, folder, threads=1)]
        ours = [Side(run_ours, shape, folder, threads=1) for _ in range(PROCESSES)]
        sides = {"naive": naive, "naive_one_thread": plain, "ours": ours}
        for side in (*naive, *plain, *ours):
            side.ready()
        rounds = [{name: stretch(side) for name, side in sides.items()} for _ in range(ROUNDS + 1)][1:]
        for side in (*naive, *plain, *ours):
            side.close()
    quiet = sorted(rounds, key=others)[:QUIET]
    busiest = max(map(others, quiet))
    return {
        "times_as_fast": ratio(quiet) if busiest <= BUSY else None,
        "times_as_fast_among_neighbours": ratio(rounds),
        "others_share_in_quiet_rounds": busiest,
        "members_together": ours[0].together,
        "one_core": {
            "times_as_fast": statistics.median(r["naive_one_thread"]["cpu"] / r["ours"]["cpu"] for r in rounds),
            "milliseconds": {
                side: 1e3 * statistics.median(r[side]["cpu"] for r in rounds) for side in ("naive_one_thread", "ours")
            },
        },
        "tokens_per_second": {
            side: shape["batch"] * shape["seq_len"] / statistics.median(r[side]["wall"] for r in quiet)
            for side in sides
        },
        "rounds": [[round(r["naive"]["wall"] / r["ours"]["wall"], 3), round(others(r), 3)] for r in rounds],
    }


def ratio(rounds: list[dict[str, Any]]) -> float:
    return statistics.median(r["naive"]["wall"] / r["ours"]["wall"] for r in rounds)


def others(sides: dict[str, Any]) -> float:
    return max(one["others"] for one in sides.values())


def stretch(side: list[Side]) -> dict[str, float]:
    """Seconds of a member's step, by the wall and by the CPU of one process, and the share that others had of the cores."""
    before, began = busy(), time.perf_counter()
    for each in side:
        each.pipe.send("go")
    told = [each.pipe.recv() for each in side]
    wall = time.perf_counter() - began
    steps, cpu = sum(t["steps"] for t in told), sum(t["cpu"] for t in told)
    others = max(0.0, busy() - before - cpu) / (wall * (os.cpu_count() or 1))
    return {"wall": wall / steps, "cpu": cpu / steps, "others": others}


def busy() -> float:
    """CPU seconds that the machine has spent, idle and waiting left out."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


class Side:
    """A process that stays loaded and runs a stretch whenever it is told to."""

    def __init__(self, run: Any, shape: dict[str, int], folder: str, *, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=run, args=(theirs, shape, folder), daemon=True)
        self.process.start()
        self.together = 1

    def ready(self) -> None:
        """Wait until it is loaded."""
        self.together = self.pipe.recv()

    def close(self) -> None:
        """Have it end."""
        self.pipe.send("end")
        self.process.join()


class Stretches:
    """Counts steps; after each stretch it tells what that took and waits to be told to go on."""

    def __init__(self, pipe: Any, members: int) -> None:
        self.pipe, self.members, self.steps, self.each = pipe, members, 0, 4
        self._wait()

    def _wait(self) -> None:
        self.on = self.pipe.recv() == "go"
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def step(self) -> bool:
        """Whether it is over."""
        self.steps += 1
        if self.steps == self.each:
            taken = time.perf_counter() - self.began
            self.pipe.send({"steps": self.steps * self.members, "cpu": time.process_time() - self.cpu})
            self.each = max(2, min(2 * self.each, round(self.steps * STRETCH / taken)))
            self.steps = 0
            self._wait()
        return not self.on


class OverError(Exception):
    """There is nothing more to measure."""


def run_naive(pipe: Any, shape: dict[str, int], _folder: str) -> None:
    """One member after another is, by the step, one member."""
    import torch

    import naive_gpt

    data = torch.frombuffer(bytearray(TEXT.read_bytes()), dtype=torch.uint8).long()
    member = naive_gpt.Naive(data, layers=LAYERS, heads=HEADS, **shape)
    pipe.send(1)
    stretches = Stretches(pipe, 1)
    while True:
        member.step()
        if stretches.step():
            return


def run_ours(pipe: Any, shape: dict[str, int], folder: str) -> None:
    """One process's part of the members, as many together as `best_members` says."""
    from forescale.train import ModelOptions, TrainConfig, open_corpus
    from forescale.train._memory import keep_freed_memory
    from forescale.train.population import best_members, together, train_population
    from forescale.workload import Shape

    keep_freed_memory()  # as the commands do
    model = Shape(
        layers=LAYERS, width=shape["width"], heads=HEADS, vocab=256, gated=False, norm="layer",
        ffn_width=4 * shape["width"], positions=shape["seq_len"], tied=True,
    )  # fmt: skip
    one = TrainConfig(
        shape=model, options=ModelOptions(position="learned"), seq_len=shape["seq_len"], batch_sequences=shape["batch"],
        steps=10**6, learning_rate=1e-3,
    )  # fmt: skip
    configs = [replace(one, seed=seed, learning_rate=1e-3 * 1.1**seed) for seed in range(MEMBERS // PROCESSES)]
    corpus = open_corpus([str(TEXT)], cache=Path(folder) / f"cache{os.getpid()}", held_out=10_000, seq_len=256)
    most = best_members(configs[0], most=len(configs))
    group = together(configs, most=most)[0]
    pipe.send(len(group))
    stretches = Stretches(pipe, len(group))

    def watch(place: int, _step: object) -> None:
        if place == len(group) - 1 and stretches.step():
            raise OverError

    try:
        train_population([configs[place] for place in group], corpus=corpus, on_step=watch)
    except OverError:
        return


if __name__ == "__main__":
    main()
