"""The curves of the benchmark: the Multi-Power Law's, a 100M GPT's, and Hägele et al.'s runs with their schedules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forescale.curves import Curve, FinishedRun

Array = NDArray[np.float64]
FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")  # the authors' own choice
SIZE = 123587328
WARMUP = 300
EVERY = 200


def of_size(data: Path, size: int) -> dict[str, Curve]:
    """The Multi-Power Law's curves of one size, by file name."""
    curves: dict[str, Curve] = {}
    for file in sorted((data / "multi-power-law" / f"csv_{size}").glob("*.csv")):
        step, rate, loss = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
        curves[file.stem] = Curve(step, loss, rate, name=file.stem)
    return curves


def of_gpt(data: Path, name: str) -> Curve:
    """The 100M GPT under one schedule: every step's training loss."""
    table = pl.read_csv(data / "gpt100m-lr-schedules" / f"100M_gpt_20B_{name}.csv.gz", infer_schema_length=None)
    step, loss, rate = (table[column].cast(pl.Float64).to_numpy() for column in ("step", "Metrics/loss", "lr"))
    return Curve(step + 1 - step[0], loss, rate, name=name)


def hagele(data: Path, **where: Any) -> list[dict[str, Any]]:
    """Runs on SlimPajama that did not diverge: their row, schedule (steps, rates) and validation curve."""
    folder = data / "lr-scheduling-hagele"
    runs = pl.read_csv(folder / "runs.csv", infer_schema_length=None).filter(pl.col("dataset") == "slimpajama")
    for column, value in where.items():
        runs = runs.filter(pl.col(column) == value)
    curves = pl.read_csv(folder / "curves.csv.gz", infer_schema_length=None)
    parts = {key: part.sort("step").unique("step", keep="last", maintain_order=True) for key, part in by_run(curves)}
    return [
        {**row, **_schedule(row, parts[row["run_idx"], "train"]), "validation": parts.get((row["run_idx"], "val"))}
        for row in runs.iter_rows(named=True)
    ]


def by_run(curves: pl.DataFrame) -> Iterator[tuple[Any, pl.DataFrame]]:
    """(run, split) -> its rows."""
    yield from curves.group_by("run_idx", "split")


def _schedule(row: dict[str, Any], rates: pl.DataFrame) -> dict[str, Any]:
    """Steps and rates: recorded ones, and the peak until a resumed run's record begins."""
    total, peak = int(row["iterations"]), float(row["peak_lr"])
    steps = np.unique([*range(20, WARMUP + 1, 20), *range(EVERY * 2, total + 1, EVERY), total]).astype(float)
    later = rates.filter(pl.col("step") > WARMUP)
    rate = np.interp(steps, [0, WARMUP, *later["step"].to_list()], [0, peak, *later["lr"].to_list()])
    if row["resumed"]:
        rate = np.where(steps < float(rates["step"][0]), peak * np.minimum(steps / WARMUP, 1), rate)
    return {"steps": steps, "rates": rate}


def annealed(row: dict[str, Any]) -> bool:
    """Whether a run trained and its rate fell to its end."""
    constant = row["scheduler"] == "wsd" and row["wsd_fract_decay"] == 0
    return row["final_val_loss"] < 5 and row["rates"][-1] < 0.2 * row["peak_lr"] and not constant


def finished(row: dict[str, Any]) -> FinishedRun:
    """A row as a finished run."""
    return FinishedRun(
        step=row["steps"],
        learning_rate=row["rates"],
        loss=float(row["final_val_loss"]),
        params=float(row["parameters"]),
        tokens_per_step=float(row["tokens_per_step"]),
    )


def validation_curve(row: dict[str, Any]) -> Curve:
    """Validation losses on the schedule's steps, NaN where not measured."""
    measured = dict(zip(row["validation"]["step"].to_list(), row["validation"]["loss"].to_list(), strict=True))
    losses = [measured.get(int(step), np.nan) for step in row["steps"]]
    return Curve(row["steps"], losses, row["rates"], name=str(row["run_idx"]))
