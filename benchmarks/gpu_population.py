"""Many small runs as one program on a GPU: throughput over one after another, by width and members, and the most that fit.

    python benchmarks/gpu_population.py [--tiny]

Depth 4, 512 tokens a sequence, 4 sequences a step, byte vocabulary; both sides eager, in the device's own precision, on
the same made-up data. Each pair is timed in turns. Sequential steps are not waited for one by one, as `train` does not.
`--tiny` runs the script itself on any machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import harness
from forescale.train import Batches, TrainConfig
from forescale.train._distributed import World
from forescale.train._step import Stepper, precision_of
from forescale.train.population._members import Members
from forescale.workload import Shape

WIDTHS, MEMBERS = (64, 128, 256, 512), (1, 2, 4, 8, 16, 32, 64)
LAYERS, SEQ_LEN, BATCH, HEAD_DIM, VOCAB = 4, 512, 4, 32, 256
TARGET = {"width": 128, "members": 32, "times_as_fast": 8.0}
ROUNDS, STRETCH = 5, 0.3  # turns, and seconds of each
MOST = 4096  # members that are tried


def main() -> None:
    tiny = "--tiny" in sys.argv
    if not torch.cuda.is_available() and not tiny:
        raise SystemExit("no accelerator here: run it where torch.cuda.is_available(), or with --tiny.")
    world = World(device=torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))
    widths, members = ((32, 64), (1, 4)) if tiny else (WIDTHS, MEMBERS)
    results = {f"d{width}": measure(world, width, members, tiny=tiny) for width in widths}
    if not tiny:
        name = torch.cuda.get_device_name(world.device)
        harness.write("gpu_population", ["forescale", "torch"], device=name, target=TARGET, results=results)


def measure(world: World, width: int, members: tuple[int, ...], *, tiny: bool) -> dict[str, Any]:
    """Times as fast as one after another, for each number of members, and the most that fit."""
    config = TrainConfig(
        shape=Shape(layers=LAYERS, width=width, heads=width // HEAD_DIM, vocab=VOCAB),
        seq_len=32 if tiny else SEQ_LEN, batch_sequences=BATCH, steps=10**6, learning_rate=1e-3,
    )  # fmt: skip
    found: dict[str, Any] = {"params": config.params}
    for count in members:
        try:
            found[f"K{count}"] = compare(world, config, count)
        except torch.OutOfMemoryError:
            break
        print(f"d{width} K{count}", found[f"K{count}"], flush=True)
    if not tiny:
        found["most_that_fit"] = largest(world, config)
        print(f"d{width} the most that fit: {found['most_that_fit']}", flush=True)
    return found


def compare(world: World, config: TrainConfig, count: int) -> dict[str, float]:
    """Seconds of a member's step both ways, in turns."""
    alone, population = stepper(world, config, 0), Members([stepper(world, config, seed) for seed in range(count)])
    sides: dict[str, Callable[[], object]] = {
        "sequential": partial(alone.step, 0),
        "population": partial(population.step, [0] * count),
    }
    samples = harness.interleaved(ROUNDS, {name: partial(seconds, world, step) for name, step in sides.items()})
    each = [value / count for value in samples["population"]]
    return {
        "times_as_fast": harness.median_ratio(samples["sequential"], each),
        "tokens_per_second": config.batch_tokens / statistics.median(each),
        "sequential_milliseconds": 1e3 * statistics.median(samples["sequential"]),
        "gigabytes": memory(world, population, count),
    }


def memory(world: World, population: Members, count: int) -> float:
    """Of a step of the population alone, in 1e9 bytes; 0 on a CPU."""
    if world.device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats(world.device)
    population.step([0] * count)
    return torch.cuda.max_memory_allocated(world.device) / 1e9


def seconds(world: World, step: Callable[[], object]) -> float:
    """The mean of a stretch of steps."""
    step()
    wait(world)
    taken, began = 0, time.perf_counter()
    while time.perf_counter() - began < STRETCH:
        for _ in range(4):
            step()
        wait(world)
        taken += 4
    return (time.perf_counter() - began) / taken


def wait(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def largest(world: World, config: TrainConfig) -> int:
    """The most members whose step fits the memory: doubled until it does not, then halved in between, to an eighth."""
    fits, misfits = 1, None
    while (misfits is None and fits < MOST) or (misfits is not None and misfits - fits > max(1, fits // 8)):
        count = 2 * fits if misfits is None else (fits + misfits) // 2
        if takes_a_step(world, config, count):
            fits = count
        else:
            misfits = count
    return fits


def takes_a_step(world: World, config: TrainConfig, count: int) -> bool:
    """Whether a population of so many takes a step."""
    try:
        one = stepper(world, config, 0)
        made = [one, *(stepper(world, config, 0) for _ in range(count - 1))]
        Members(made).step([0] * count)
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True


def stepper(world: World, config: TrainConfig, seed: int) -> Stepper:
    """A run on made-up data."""
    tokens = np.random.default_rng(seed).integers(VOCAB, size=(BATCH + 2) * config.seq_len)
    config = replace(config, seed=seed, precision=precision_of(config, world.device))
    return Stepper(config, world, Batches(tokens, seq_len=config.seq_len, seed=seed))


if __name__ == "__main__":
    main()
