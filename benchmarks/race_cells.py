"""Three cells of tiny decoders for bench_race.py: seven octaves of learning rate, two batches, three schedules.

    python benchmarks/race_cells.py FOLDER

Some twenty CPU minutes; runs that are there already are kept.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import sys
from pathlib import Path
from typing import Any

import harness
from forescale.sweep import run_job, train_job
from forescale.train import TrainConfig
from forescale.workload import Shape

SHAPE, SEQ_LEN, TOKENS = Shape(layers=2, width=32, heads=2, vocab=256), 64, 400_000
SCHEDULES: dict[str, dict[str, Any]] = {
    "lin": {"schedule": "linear"},
    "cos": {"schedule": "cosine", "final_lr_ratio": 0.1},
    "wsd": {"schedule": "wsd"},
}
RATES = [2.0**exponent for exponent in range(-10, -2)]


def main(folder: Path) -> None:
    for name, schedule in SCHEDULES.items():
        for batch in (8, 32):
            for rate in RATES:
                job = train_job(config(batch, rate, schedule))
                outcome = run_job(job, folder / f"{name}.runs" / job.key)
                print(name, batch, rate, outcome.state, outcome.loss, outcome.problem, flush=True)


def config(batch: int, rate: float, schedule: dict[str, Any]) -> TrainConfig:
    steps = round(TOKENS / (batch * SEQ_LEN))
    return TrainConfig(
        shape=SHAPE,
        seq_len=SEQ_LEN,
        steps=steps,
        batch_sequences=batch,
        learning_rate=rate,
        warmup_steps=steps // 20,
        data=(str(harness.DATA / "text-corpora"),),
        errors="replace",
        eval_tokens=2**15,
        threads=1,
        device="cpu",
        checkpoint_every=steps,
        **schedule,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
