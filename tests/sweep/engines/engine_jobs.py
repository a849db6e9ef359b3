"""Small sweeps that the tests of the engines share, and the driver that some of them kill."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import polars as pl

from forescale.sweep import Job, train_job
from forescale.sweep.engines import LocalEngine, drive
from forescale.sweep.store import Store, open_store
from forescale.train import TrainConfig
from forescale.workload import Shape

TINY = Shape(layers=1, width=16, heads=2, vocab=256, ffn_width=32)
OWN = {
    "seconds",
    "tokens_per_second",
    "versions",
    "machine",
    "notes",
    "attempts",
    "created",
    "started",
    "ended",
    "beat",
}


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


def planned(where: Path, jobs: list[Job]) -> Store:
    """A new store with these jobs."""
    store = open_store(where)
    store.add(jobs)
    return store


def measured(store: Store) -> pl.DataFrame:
    """The table without what no two runs have in common: times, and who made them."""
    table = store.table().sort("key")
    return table.select([name for name in table.columns if name in KEPT])


KEPT = ("key", "state", "loss", "train_loss", "bits_per_byte", "params", "tokens", "steps", "learning_rate", "seed")


def main() -> None:
    """The driver that is killed: drives the store named on the command line."""
    drive(open_store(sys.argv[1]), LocalEngine(workers=2, threads=1, device="cpu"), progress=False)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
