"""Gaps filled from both sides: C2FAR against linear, last value, seasonal and spline, on planted gaps in real series."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.interpolate import CubicSpline

import harness
from forecast_uses_data import CHECKPOINT, azure, frame
from forescale.forecast import C2FAR, Training
from forescale.forecast.uses import interpolate

LENGTHS, SEASON, LAST = (1, 3, 12, 24), 24, 200  # gaps lie in the last values, which no model was trained on
DECILES = tuple(k / 10 for k in range(1, 10))
Floats = np.ndarray[Any, Any]


def interpolation() -> dict[str, Any]:
    """Hourly demand with the authors' checkpoint, and every seventh series of M4 hourly with a small model."""
    demand, m4 = azure(every=12), m4_hourly()[::7]
    small = C2FAR(training=Training(steps=400, batch=64)).fit(hourly([each[:-LAST] for each in m4]), progress=False)
    return {
        "azure_hourly": measured(C2FAR.from_reference(CHECKPOINT), demand, frame, paths=100),
        "m4_hourly": measured(small, m4, hourly, paths=200),
    }


def m4_hourly() -> list[Floats]:
    with gzip.open(harness.DATA / "m4-hourly" / "Hourly-train.csv.gz", "rt", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [np.array([float(value) for value in row[1:] if value]) for row in rows]


def hourly(series: Sequence[Floats]) -> pl.DataFrame:
    """From a Monday on: the file has no times."""
    hours = pl.duration(hours=pl.col("ds"))
    return frame(series).with_columns((pl.datetime(2000, 1, 3) + hours).alias("ds"))


def measured(
    model: C2FAR, series: Sequence[Floats], as_frame: Callable[[Sequence[Floats]], pl.DataFrame], paths: int
) -> dict[str, Any]:
    """One gap of each length a series, in a frame of its own."""
    found: dict[str, Any] = {"series": len(series), "paths": paths}
    for length in LENGTHS:
        generator = np.random.default_rng(length)
        starts = [len(y) - LAST + int(generator.integers(LAST - length - 2 * SEASON)) for y in series]
        found[f"gap {length}"] = _one_length(model, series, as_frame, paths, starts, length)
        print(length, found[f"gap {length}"]["nd"], file=sys.stderr, flush=True)
    return found


def _one_length(
    model: C2FAR, series: Sequence[Floats], as_frame: Any, paths: int, starts: Sequence[int], length: int
) -> dict[str, Any]:
    holed = [np.array(y, float) for y in series]
    for y, start in zip(holed, starts, strict=True):
        y[start : start + length] = np.nan
    tables: list[Any] = []
    data = as_frame(holed)
    seconds = harness.call_cpu_seconds(lambda: tables.append(interpolate(model, data, quantiles=DECILES, paths=paths)))
    truth = np.stack([y[start : start + length] for y, start in zip(series, starts, strict=True)])
    quantiles = tables[0].select([f"q{share:g}" for share in DECILES]).to_numpy().reshape(len(series), length, 9)
    filled = {"C2FAR": quantiles[..., 4]}
    for name, fill in FILLS.items():
        filled[name] = np.stack([fill(y, start, length) for y, start in zip(holed, starts, strict=True)])
    worth = tables[0]["effective_paths"].to_numpy()
    level = np.abs(truth).sum()
    return {
        "nd": {name: round(float(np.abs(truth - each).sum() / level), 5) for name, each in filled.items()},
        "nd_mean_of_series": {name: _macro(truth, each) for name, each in filled.items()},
        "wql": round(_weighted_quantile_loss(truth, quantiles), 5),
        "coverage_80": round(float(((truth >= quantiles[..., 0]) & (truth <= quantiles[..., 8])).mean()), 4),
        "effective_paths": [round(float(each), 1) for each in np.quantile(worth, (0.05, 0.5))],
        "cpu_seconds": round(seconds, 1),
    }


def _macro(truth: Floats, filled: Floats) -> float:
    """ND of each series by itself, the mean of those that are not zero throughout."""
    level = np.abs(truth).sum(1)
    return round(float((np.abs(truth - filled).sum(1)[level > 0] / level[level > 0]).mean()), 5)


def _weighted_quantile_loss(truth: Floats, quantiles: Floats) -> float:
    shares, error = np.array(DECILES), truth[..., None] - quantiles
    return float(2 * (error * (shares - (error < 0))).sum() / 9 / np.abs(truth).sum())


# Simple ways.


def _linear(y: Floats, start: int, length: int) -> Floats:
    return np.linspace(y[start - 1], y[start + length], length + 2)[1:-1]


def _last(y: Floats, start: int, length: int) -> Floats:
    return np.full(length, y[start - 1])


def _seasonal(y: Floats, start: int, length: int) -> Floats:
    """The mean of the same hour of the day before and the day after."""
    gap = np.arange(start, start + length)
    return (y[gap - SEASON] + y[gap + SEASON]) / 2


def _spline(y: Floats, start: int, length: int) -> Floats:
    around = np.concatenate([np.arange(start - SEASON, start), np.arange(start + length, start + length + SEASON)])
    spline: Any = CubicSpline(around, y[around])
    return spline(np.arange(start, start + length))


FILLS = {"linear": _linear, "last value": _last, "seasonal, both sides": _seasonal, "cubic spline": _spline}
