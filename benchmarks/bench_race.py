"""Racing on complete curves: what it saves and what it costs, against Optuna's pruners on the same curves.

    python benchmarks/bench_race.py [--unseen] [FOLDER.runs ...]

Cells are those of Hägele et al.'s released runs (the folder FORESCALE_DATA) and of the sweeps in the folders, with a run
of forescale's trainer in each of their folders. Runs start in a random order on four workers, and are looked at after
every sixteenth. The regret is the loss gap between the best run that was finished and the best of all.
With --unseen only the folders are looked at, for cells on which the constants were not chosen: race_unseen.json.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl

import harness
from forescale.sweep import train_job
from forescale.sweep.race import Curve, Race, curve_of, decide, diverged, forecast
from forescale.sweep.race._curve import RATES, cells
from forescale.sweep.race._forecast import ALPHA, BINS, bin_means
from forescale.sweep.store._metrics import read_metrics
from forescale.train._config_json import config_from_json

WORKERS, ORDERS, DRAWS = 4, 5, 20
RACES = {
    "forecast, 99.5 %": Race(confidence=0.995),
    "forecast, 97.5 %": Race(),
    "forecast, 90 %": Race(confidence=0.9),
    "forecast, 97.5 %, giving up 0.25 % of loss": Race(margin=-0.0025),
    "forecast, 90 %, giving up 0.25 % of loss": Race(confidence=0.9, margin=-0.0025),
}
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "median, after 5 runs (default)": optuna.pruners.MedianPruner,
    "median, after a quarter": lambda: optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=BINS // 4 - 1),
    "median, after half": lambda: optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=BINS // 2 - 1),
    "successive halving, from a quarter": lambda: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=BINS // 4, reduction_factor=2
    ),
    "hyperband, from an eighth": lambda: optuna.pruners.HyperbandPruner(
        min_resource=BINS // 8, max_resource=BINS, reduction_factor=2
    ),
}
Look = Callable[[Mapping[str, int], Sequence[str]], Sequence[str]]  # bins of the running, finished -> those to end


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    unseen = "--unseen" in sys.argv
    given = all_cells([Path(word) for word in sys.argv[1:] if word != "--unseen"], public=not unseen)
    found = {name: kept for name, kept in given if len(kept) >= 8}
    for name, curves in found.items():
        print(name, len(curves), flush=True)
    results = {
        "cells": {name: describe(curves) for name, curves in found.items()},
        "forecasts": forecasts(found),
        "diverged": divergence(found),
        "races": races(found),
    }
    harness.write(
        "race_unseen" if unseen else "race",
        ["forescale", "optuna", "numpy", "scipy"],
        workers=WORKERS,
        orders=ORDERS,
        **results,
    )


def all_cells(folders: Sequence[Path], *, public: bool) -> Iterator[tuple[str, list[Curve]]]:
    for steps in (15_000, 25_000, 35_000, 50_000) if public else ():
        yield f"Hägele et al., 124M, {steps:,} steps", hagele(steps)
    for folder in folders:
        yield from own(folder)


def own(folder: Path) -> Iterator[tuple[str, list[Curve]]]:
    """The cells of a sweep of our own trainer."""
    ends: dict[str, float] = {}
    jobs: dict[str, Any] = {}
    where: dict[str, Path] = {}
    for result in sorted(folder.glob("*/result.json")):
        config = json.loads((result.parent / "config.json").read_text("utf-8"))["config"]
        loss = json.loads(result.read_text("utf-8"))["loss"]
        job = train_job(config_from_json(config))
        if loss is not None:
            jobs[job.key], ends[job.key], where[job.key] = job, loss, result.parent
    for number, cell in enumerate(cells(list(jobs.values()))):
        name = f"{folder.stem} {number}: {cell[0].row['params']:,} params, {cell[0].row['tokens']:,} tokens"
        yield name, [curve_of(job, read_metrics(where[job.key]), ends[job.key]) for job in cell]


def hagele(steps: int) -> list[Curve]:
    """The 124M runs of this length; those resumed from a constant rate have that run's losses before."""
    folder = harness.DATA / "lr-scheduling-hagele"
    table = pl.read_csv(folder / "runs.csv").filter(n_layer=12, n_embd=768, dataset="slimpajama")
    rows = {row["run_idx"]: row for row in table.to_dicts()}
    losses = pl.read_csv(folder / "curves.csv.gz").filter(
        pl.col("split") == "train", pl.col("run_idx").is_in(list(rows))
    )
    tables = {part["run_idx"][0]: part.sort("step") for part in losses.partition_by("run_idx")}
    constant = {rows[i]["peak_lr"]: part for i, part in sorted(tables.items()) if rows[i]["wsd_fract_decay"] == 0.0}
    trunks = {rate: part for rate, part in constant.items() if rows[part["run_idx"][0]]["scheduler"] == "wsd"}
    made = [
        _curve(row, tables[i], trunks, steps) for i, row in rows.items() if row["iterations"] == steps and i in tables
    ]
    return [curve for curve in made if curve is not None]


def _curve(
    row: Mapping[str, Any], part: pl.DataFrame, trunks: Mapping[float, pl.DataFrame], steps: int
) -> Curve | None:
    first = part["step"][0]
    if first > 1000:
        if (trunk := trunks.get(row["peak_lr"])) is None:
            return None
        part = pl.concat([trunk.filter(pl.col("step") < first), part])
    if part["step"][0] > 1000 or part["step"][-1] < 0.97 * steps:
        return None
    progress = np.minimum(part["step"].to_numpy() / steps, 1.0)
    return Curve(
        key=str(row["run_idx"]),
        settings={"learning_rate": row["peak_lr"]},
        progress=progress,
        loss=part["loss"].to_numpy(),
        rate=np.interp((np.arange(RATES) + 0.5) / RATES, progress, part["lr"].to_numpy()),
        end=row["final_val_loss"] or row["last_val_loss"],
    )


def describe(curves: Sequence[Curve]) -> dict[str, Any]:
    ends = sorted(end(c) for c in curves)
    ranks = {
        f"{share:.0%}": _spearman([_now(c, share) for c in curves], [end(c) for c in curves])
        for share in (0.25, 0.5, 0.75)
    }
    return {"runs": len(curves), "best": ends[0], "median": statistics.median(ends), "rank_correlation_at": ranks}


def end(curve: Curve) -> float:
    assert curve.end is not None
    return curve.end


def _now(curve: Curve, share: float) -> float:
    return math.exp(bin_means(curve)[0][round(share * BINS) - 1])


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


# How good the forecasts are.


def forecasts(found: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """Error of ln loss and coverage by cell and number of finished runs, over shares of a quarter, half and three quarters."""
    made: list[dict[str, Any]] = []
    random = np.random.default_rng(0)
    for name, curves in found.items():
        sound = [c for c in curves if not diverged(c)]
        for number in (2, 4, 8, 12):
            if len(sound) > number:
                rows = [_trial(sound, number, share, random) for share in (0.25, 0.5, 0.75) for _ in range(DRAWS)]
                made.append({"cell": name, "finished": number, **_summary(rows)})
                print(made[-1], flush=True)
    return made


def _trial(curves: Sequence[Curve], number: int, share: float, random: np.random.Generator) -> dict[str, float]:
    picked = [curves[i] for i in random.permutation(len(curves))[: number + 1]]
    truth, references = picked[0], picked[1:]
    guess = forecast([truth.until(share), *references]).end(truth.key)
    errors = {
        "ours": guess.loss,
        "what remains of the most alike": _most_alike(truth, references, share),
        "law of its own curve": _law(truth, references, share),
        "loss now": _now(truth, share),
    }
    return {name: math.log(value / end(truth)) for name, value in errors.items()} | {
        "inside": float(guess.low <= end(truth) <= guess.high),
        "better": float(end(truth) < guess.low),
        "half width": (math.log(guess.high) - math.log(guess.low)) / 2,
    }


def _most_alike(curve: Curve, references: Sequence[Curve], share: float) -> float:
    """The loss now, less what the reference with the nearest learning rates still came down from there."""
    like = min(references, key=lambda r: float(np.mean((np.log(r.rate + 1e-9) - np.log(curve.rate + 1e-9)) ** 2)))
    return end(like) * _now(curve, share) / _now(like, share)


def _law(curve: Curve, references: Sequence[Curve], share: float) -> float:
    """E + A S^-ALPHA + B rate through the curve, and the references' mean ratio of held-out to training loss."""
    means = np.exp(bin_means(curve.until(share))[0])
    fine = np.interp(np.linspace(0, 1, BINS * 32 + 1)[1:], (np.arange(RATES) + 0.5) / RATES, curve.rate)
    area, rate = np.cumsum(fine).reshape(BINS, 32).mean(1), fine.reshape(BINS, 32).mean(1) / fine.max()
    basis = np.stack([np.ones(BINS), (area / area[-1]) ** -ALPHA, rate], 1)
    used = np.isfinite(means) & (np.arange(BINS) >= 2)
    coefficients = np.linalg.lstsq(basis[used], means[used], rcond=1e-3)[0]
    return float(basis[-1] @ coefficients) * statistics.mean(end(r) / _now(r, 1.0) for r in references)


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    methods = [name for name in rows[0] if name not in ("inside", "better", "half width")]
    return {
        "rms_error": {name: math.sqrt(statistics.mean(row[name] ** 2 for row in rows)) for name in methods},
        "median_error": {name: statistics.median(abs(row[name]) for row in rows) for name in methods},
        "coverage_95": statistics.mean(row["inside"] for row in rows),
        "better_than_low": statistics.mean(row["better"] for row in rows),
        "median_half_width": statistics.median(row["half width"] for row in rows),
    }


def divergence(found: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """Runs that are cut as diverged, when, and where they ended all the same."""
    made: list[dict[str, Any]] = []
    for name, curves in found.items():
        for curve in curves:
            shares = [i / BINS for i in range(1, BINS + 1)]
            if at := next((share for share in shares if diverged(curve.until(share))), None):
                made.append({"cell": name, "share": at, "end": curve.end, "best": min(map(end, curves))})
    return made


# Races.


def races(found: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for name, curves in found.items():
        rules: dict[str, Callable[[], Look]] = {
            label: lambda options=options, curves=curves: _ours(curves, options) for label, options in RACES.items()
        }
        rules |= {label: lambda make=make, curves=curves: _pruner(curves, make()) for label, make in PRUNERS.items()}
        for label, make in rules.items():
            made.append({"cell": name, "rule": label, **_raced(curves, make)})
            print(made[-1], flush=True)
    for label in dict.fromkeys(row["rule"] for row in made):
        print(label, _over([row for row in made if row["rule"] == label]))
    return made


def _raced(curves: Sequence[Curve], make: Callable[[], Look]) -> dict[str, Any]:
    best = min(map(end, curves))
    outcomes: list[tuple[float, float]] = []
    for seed in range(ORDERS):
        order = [curves[i].key for i in np.random.default_rng(seed).permutation(len(curves))]
        spent, finished = race(order, make())
        ends = [end(c) for c in curves if c.key in finished]
        outcomes.append((1 - spent / (BINS * len(curves)), min(ends) / best - 1))
    savings, regrets = zip(*outcomes, strict=True)
    return {"saved": statistics.mean(savings), "regret": statistics.mean(regrets), "worst_regret": max(regrets)}


def race(order: Sequence[str], look: Look) -> tuple[int, set[str]]:
    """The bins that were run, and the keys of the runs that finished."""
    waiting, running, finished, spent = list(order), dict[str, int](), list[str](), 0
    while waiting or running:
        while waiting and len(running) < WORKERS:
            running[waiting.pop(0)] = 0
        running = {key: bins + 1 for key, bins in running.items()}
        spent += len(running)
        finished += [key for key, bins in running.items() if bins == BINS]
        running = {key: bins for key, bins in running.items() if bins < BINS}
        for key in look(running, finished):
            running.pop(key, None)
    return spent, set(finished)


def _ours(curves: Sequence[Curve], options: Race) -> Look:
    by_key = {curve.key: curve for curve in curves}
    return lambda running, finished: list(
        decide([*(by_key[k] for k in finished), *(by_key[k].until(n / BINS) for k, n in running.items())], options)
    )


def _pruner(curves: Sequence[Curve], pruner: optuna.pruners.BasePruner) -> Look:
    """Optuna's, told the mean training loss of the bin that is over."""
    study = optuna.create_study(study_name="race", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    means = {curve.key: np.exp(bin_means(curve)[0]) for curve in curves}
    ends = {curve.key: end(curve) for curve in curves}
    trials: dict[str, optuna.Trial] = {}
    told: set[str] = set()

    def look(running: Mapping[str, int], finished: Sequence[str]) -> list[str]:
        out: list[str] = []
        for key in (k for k in finished if k not in told):
            told.add(key)
            study.tell(trials[key], ends[key])
        for key, bins in running.items():
            if key not in trials:
                trials[key] = study.ask()
            trial = trials[key]
            trial.report(float(means[key][bins - 1]), bins)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                out.append(key)
        return out

    return look


def _over(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {
        "saved": statistics.mean(row["saved"] for row in rows),
        "regret": statistics.mean(row["regret"] for row in rows),
        "worst_regret": max(row["worst_regret"] for row in rows),
    }


if __name__ == "__main__":
    main()
