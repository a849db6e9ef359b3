"""Anomalies of the Numenta Anomaly Benchmark: C2FAR's surprise against published detectors' own scores and simple detectors.

One model is trained on the probationary parts (the first 15 %, at most 750 values) of all files, and reads each file in time's
order. What is left to choose is chosen on every other file (half A), and told of the others (half B) too.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_ndtr

import harness
from forecast_uses_data import frame
from forescale.forecast import C2FAR, Training
from forescale.forecast.uses import NabScore, anomalies, excesses, nab_score

HORIZON, SPAN = 24, 4096  # windows are normalised by that much of the past: nearly all of most files
WEIGHTS, QUIET = (0.0, 1.0, 2.0, 4.0), (1, 50, 100, 200)
MODEL: dict[str, Any] = {"context": 48, "span": 1024, "hidden": 48, "lags": (), "calendar": False}
SEEDS = 3  # trainings
GAUSSIAN, EVERY = 6400, 100  # the windowed Gaussian's window and step in the benchmark
Scores = list[np.ndarray[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class File:
    """One series, and the first and last step of each of its labelled windows."""

    name: str
    values: np.ndarray[Any, Any]
    windows: list[tuple[int, int]]


def anomaly_detection(checkout: Path | None) -> dict[str, Any]:
    """On the whole corpus and its published detectors with a checkout of github.com/numenta/NAB; else on seven files."""
    files = read(checkout) if checkout else read_seven()
    detectors, chosen = ours(files)
    detectors |= simple(files)
    published: dict[str, Any] = {}
    if checkout:
        published = json.loads((checkout / "results" / "final_results.json").read_text("utf-8"))
        detectors |= {name: published_scores(checkout, name, files) for name in published}
    rows = {name: judged(scores, files) for name, scores in detectors.items()}
    scored = {name: each["standard"] for name, each in published.items()}
    return {
        "files": len(files),
        "windows": sum(len(each.windows) for each in files),
        "chosen_on_half_a": chosen,
        "detectors": rows,
        "published_standard_score": scored,
        "our_score_of_theirs_less_published": {n: round(rows[n]["all"]["score"] - s, 6) for n, s in scored.items()},
    }


# Files.


def read(checkout: Path) -> list[File]:
    windows = json.loads((checkout / "labels" / "combined_windows.json").read_text("utf-8"))
    return [_file(name, checkout / "data" / name, windows[name]) for name in sorted(windows)]


def read_seven() -> list[File]:
    folder = harness.DATA / "time-series" / "NAB"
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text("utf-8"))
    return [_file(name, folder / name, windows[name]) for name in sorted(windows)]


def _file(name: str, path: Path, windows: Sequence[Sequence[str]]) -> File:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    places: dict[str, int] = {}
    for k, row in enumerate(rows):
        places.setdefault(row["timestamp"][:19], k)
    steps = [(places[first[:19]], places[last[:19]]) for first, last in windows]
    return File(name=name, values=np.array([float(row["value"]) for row in rows]), windows=steps)


def published_scores(checkout: Path, detector: str, files: Sequence[File]) -> Scores:
    """What a detector's authors or the benchmark's ran, value by value."""
    found: Scores = []
    for each in files:
        group, name = each.name.split("/")
        with (checkout / "results" / detector / group / f"{detector}_{name}").open(newline="") as file:
            found.append(np.array([float(row["anomaly_score"]) for row in csv.DictReader(file)]))
    return found


# Detectors.


def ours(files: Sequence[File]) -> tuple[dict[str, Scores], dict[str, Any]]:
    """Surprise of each training and of their mean, as it is and calibrated; with values' own excess; and that alone."""
    bits = [surprises(files, seed) for seed in range(SEEDS)]
    mean = [np.mean(each, 0) for each in zip(*bits, strict=True)]
    surprising = [np.nan_to_num(excesses(each)) for each in mean]
    extreme = [np.nan_to_num(np.fmax(excesses(each.values), excesses(-each.values))) for each in files]
    alone = best_on_half_a(lambda steps: hushed(surprising, steps), [(steps,) for steps in QUIET], files)
    values = best_on_half_a(lambda steps: hushed(extreme, steps), [(steps,) for steps in QUIET], files)

    def both(weight: float, steps: int) -> Scores:
        return hushed([a + weight * b for a, b in zip(surprising, extreme, strict=True)], steps)

    chosen = best_on_half_a(both, list(product(WEIGHTS, QUIET)), files)
    told = {"weight_of_values": chosen[0], "quiet": chosen[1], "quiet_alone": alone[0], "quiet_values": values[0]}
    single = {
        f"C2FAR, calibrated, training {k}": hushed([np.nan_to_num(excesses(s)) for s in each], *alone)
        for k, each in enumerate(bits)
    }
    return {
        "C2FAR, bits": mean,
        **single,
        "C2FAR, calibrated": hushed(surprising, *alone),
        "C2FAR, calibrated, and values' excess": both(*chosen),
        "values' excess": hushed(extreme, *values),
    }, told


def surprises(files: Sequence[File], seed: int) -> Scores:
    """Bits of every value by a model that was trained on all files' probationary parts."""
    probation = [each.values[: int(min(0.15 * len(each.values), 750))] for each in files]
    training = Training(steps=600, batch=64, checks=10, patience=10, seed=seed)
    model = C2FAR(horizon=HORIZON, training=training, **MODEL).fit(frame(probation), progress=False)
    table = anomalies(model, frame([each.values for each in files]), span=SPAN)
    print(f"training {seed} has its scores", file=sys.stderr, flush=True)
    return [part["score"].to_numpy() for part in table.partition_by("unique_id", maintain_order=True)]


def best_on_half_a(make: Callable[..., Scores], choices: Sequence[Any], files: Sequence[File]) -> Any:
    """The choice whose score there is highest."""
    return max(choices, key=lambda choice: _score(make(*choice), files, range(0, len(files), 2)).score)


def hushed(scores: Scores, steps: int) -> Scores:
    return [quiet(each, steps) for each in scores]


def quiet(scores: np.ndarray[Any, Any], steps: int) -> np.ndarray[Any, Any]:
    """Scores that are higher than all of so many before them: one alarm for what lasts; others never alarm."""
    padded = np.concatenate([np.full(steps, -np.inf), scores])
    before = np.lib.stride_tricks.sliding_window_view(padded, steps)[: len(scores)].max(1)
    return np.where(scores > before, scores, -np.inf) if steps > 1 else scores


def simple(files: Sequence[File]) -> dict[str, Scores]:
    """What takes a few lines, computed here."""
    values = [each.values for each in files]
    generator = np.random.default_rng(0)
    return {
        "beyond all earlier values": [beyond(each) for each in values],
        "z-score of all earlier values": [_gaussian(each, len(each), 1) for each in values],
        "windowed Gaussian, here": [_gaussian(each, GAUSSIAN, EVERY) for each in values],
        "random, here": [generator.random(len(each)) for each in values],
    }


def beyond(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How far outside the range of all earlier values, as a share of it; negative inside."""
    high, low = np.maximum.accumulate(values)[:-1], np.minimum.accumulate(values)[:-1]
    out = np.maximum(values[1:] - high, low - values[1:]) / np.maximum(high - low, 1e-9)
    return np.concatenate([[-1.0], np.clip(out, -1.0, 1e9)])


def _gaussian(values: np.ndarray[Any, Any], window: int, step: int) -> np.ndarray[Any, Any]:
    """Bits of the tail of a normal law of the last `window` values, looked at every `step` once the window is full."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum((values - values[0]) ** 2)])
    stop = np.arange(len(values))
    stop = np.where(stop <= window, stop, window + (stop - window) // step * step)
    start = np.maximum(stop - window, 0)
    count = np.maximum(stop - start, 1)
    mean = (sums[stop] - sums[start]) / count
    spread = (squares[stop] - squares[start]) / count - (mean - values[0]) ** 2
    z = np.abs(values - mean) / np.sqrt(np.maximum(spread, 1e-12))
    return np.where(stop > 0, -log_ndtr(-z) / np.log(2), 0.0)


# Scores.


def judged(scores: Scores, files: Sequence[File]) -> dict[str, Any]:
    """By the standard profile with the best threshold for all files together; the best F1 has a threshold of its own."""
    known = [k for k, each in enumerate(files) if each.name.startswith("realKnownCause")]
    parts = {
        "half_a": range(0, len(files), 2), "half_b": range(1, len(files), 2), "all": range(len(files)), "known": known,
    }  # fmt: skip
    return {name: _row(scores, files, part) for name, part in parts.items()}


def _row(scores: Scores, files: Sequence[File], part: Sequence[int]) -> dict[str, Any]:
    found = _score(scores, files, part)
    return {
        "score": round(found.score, 6),
        "f1": round(found.f1, 4),
        "found": found.found,
        "windows": found.windows,
        "false_alarms": found.false_alarms,
        "best_f1": round(_score(scores, files, part, best="f1").f1, 4),
    }


def _score(scores: Scores, files: Sequence[File], part: Sequence[int], **options: Any) -> NabScore:
    return nab_score([scores[k] for k in part], [files[k].windows for k in part], **options)
