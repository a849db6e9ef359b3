"""Small sweeps that the tests of the engines share, and the driver that some of them kill."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from forescale.sweep import Job, train_job
from forescale.sweep.command import Command, command_job
from forescale.sweep.engines import LocalEngine, drive
from forescale.sweep.store import Store, open_store
from forescale.train import TrainConfig
from forescale.workload import Shape

TINY = Shape(layers=1, width=16, heads=2, vocab=256, ffn_width=32)
# Of a table what two sweeps have in common: neither times nor machines.
SHARED = ("key", "state", "loss", "bits_per_byte", "params", "tokens", "steps", "learning_rate", "seed")


def tiny_jobs(folder: Path, count: int, **changes: Any) -> list[Job]:
    """Jobs that differ in their seeds; their text is written to `folder`."""
    text = folder / "text.txt"
    if not text.exists():
        text.write_text("".join(f"line {i} of a text, whose square is {i * i}\n" for i in range(2000)))
    settings: dict[str, Any] = {
        "shape": TINY,
        "seq_len": 16,
        "steps": 10,
        "batch_sequences": 2,
        "learning_rate": 1e-2,
        "data": (str(text),),
        "eval_tokens": 512,
        "checkpoint_every": 4,
        "threads": 1,
    }
    return [train_job(TrainConfig(**settings | {"seed": seed} | changes)) for seed in range(count)]


def varied_jobs(folder: Path, **changes: Any) -> list[Job]:
    """Two runs that end well, one that diverges, and two of another trainer, one of which fails."""
    (wild,) = tiny_jobs(folder, 1, learning_rate=1e30, **changes)
    good, bad = (Command(run=f"sh -c 'echo val loss {{learning_rate}}; exit {code}'") for code in (0, 1))
    others = [command_job(command, {"learning_rate": 0.5, "seed": 7}, compute=1.0) for command in (good, bad)]
    return [*tiny_jobs(folder, 2, **changes), wild, *others]


def planned(where: Path, jobs: list[Job]) -> Store:
    """A new store with these jobs."""
    store = open_store(where)
    store.add(jobs)
    return store


def measured(store: Store) -> pl.DataFrame:
    """What a sweep came to, without times and machines."""
    return store.table().select(SHARED).sort("key")


def children(pid: int) -> list[int]:
    """Processes that a process has started and that are still there."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


def main() -> None:
    """The driver that is killed: drives the store named on the command line."""
    drive(open_store(sys.argv[1]), LocalEngine(workers=2, threads=1, device="cpu"), progress=False)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
