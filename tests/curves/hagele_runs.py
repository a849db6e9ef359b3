"""Finished runs of Hägele et al. 2024 and Schaipp et al. 2025, with their schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forescale.curves import FinishedRun

SIZE = 123587328
WARMUP = 300


def read_hagele(data: Path) -> list[dict[str, Any]]:
    """The annealed 124M runs on SlimPajama: their row, and a `FinishedRun`."""
    folder = data / "lr-scheduling-hagele"
    runs = pl.read_csv(folder / "runs.csv", infer_schema_length=None)
    curves = pl.read_csv(folder / "curves.csv.gz", infer_schema_length=None).filter(pl.col("split") == "train")
    rates = {key[0]: part.sort("step") for key, part in curves.group_by("run_idx")}
    chosen = runs.filter((pl.col("dataset") == "slimpajama") & (pl.col("parameters") == SIZE))
    made = [{**row, "run": _finished(row, rates[row["run_idx"]])} for row in chosen.iter_rows(named=True)]
    return [row for row in made if _annealed(row)]


def _annealed(row: dict[str, Any]) -> bool:
    rates = np.asarray(row["run"].learning_rate)
    constant = row["scheduler"] == "wsd" and row["wsd_fract_decay"] == 0
    return row["final_val_loss"] < 5 and rates[-1] < 0.2 * row["peak_lr"] and not constant


def _finished(row: dict[str, Any], rates: pl.DataFrame) -> FinishedRun:
    """The rate of every 200th step: the peak until a resumed run's record begins."""
    total, peak = int(row["iterations"]), float(row["peak_lr"])
    steps = np.unique([*range(20, WARMUP + 1, 20), *range(WARMUP, total + 1, 200), total]).astype(float)
    later = rates.filter(pl.col("step") > WARMUP)
    rate = np.interp(steps, [0, WARMUP, *later["step"].to_list()], [0, peak, *later["lr"].to_list()])
    if row["resumed"]:
        rate = np.where(steps < float(rates["step"][0]), peak * np.minimum(steps / WARMUP, 1), rate)
    return FinishedRun(step=steps, learning_rate=rate, loss=float(row["final_val_loss"]), name=f"run {row['run_idx']}")
