"""Calibration, leaving one lab out: the loss gap on the lab's larger cells after its 0, 3, 6 and 10 cheapest, and at 1 %.

Beside it: published laws (a lab's own left out), a refit from those cells alone, published Step Law shifted by a constant.
The largest third of a lab's cells (three at least) is never trained on. `one_percent` takes the cheapest cells that fit in
1 % of the compute of the lab's whole sweep, full sweeps cut to nine runs a cell. Then the time of `plan --runs` on 2,000 runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import harness
import left_out_labs as left
from forescale.fit.calibrate._agreement import agreement
from forescale.fit.calibrate._belief import Belief, information, product
from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._prior import Prior
from left_out_labs import Array, LabCells

CHEAPEST = (0, 3, 6, 10)
PUBLISHED = ("step-law", "deepseek", "porian", "lingle", "ling-moe")
OWN = {"Step Law sweep": ("step-law",), "Step Law experts": ("step-law",), "Lingle": ("lingle",)}
ONE_PERCENT = 0.01
LEAST_TESTED = 3
ROUNDS = 5
TOLD_APART = 0.05  # spread of ln N or ln D that a refit needs beyond what the other explains, as `forescale fit` does


def main() -> None:
    """Write gaps and coverage of every lab and their means over labs."""
    every = left.factors()
    labs = {lab.name: leave_out(lab, left.prior_without(every, lab)) for lab in left.labs()}
    harness.write(
        "calibration",
        ["forescale", "numpy", "polars", "scipy"],
        labs=labs,
        means=means(labs),
        plan_runs_seconds=plan_seconds(),
    )


def leave_out(lab: LabCells, prior: Prior) -> dict[str, object]:
    """One lab: every method's mean gap (%) on its largest cells."""
    tested = lab.evidence[-max(LEAST_TESTED, len(lab.evidence) // 3) :]
    trained = lab.evidence[: -len(tested)]
    whole = sum(left.compute(e) for e in lab.evidence)
    rows = {f"{k} cells": row(trained[:k], tested, prior, whole) for k in CHEAPEST}
    rows["one_percent"] = row(within(trained, prior.belief, ONE_PERCENT * whole), tested, prior, whole)
    others = [name for name in PUBLISHED if name not in OWN.get(lab.name, ())]
    laws = {name: mean_gap(tested, lambda e, name=name: left.published(name, e.cell)) for name in others}
    return {"cells": len(lab.evidence), "tested": len(tested), "published": laws, "calibrated": rows}


def within(cells: Sequence[Evidence], belief: Belief, budget: float) -> list[Evidence]:
    """The cheapest cells, thinned, that fit in the budget (FLOPs)."""
    found: list[Evidence] = []
    for e in cells:
        thin = left.thinned(e, product(belief, information(belief, found)) if found else belief)
        if sum(map(left.compute, found)) + left.compute(thin) > budget:
            break
        found.append(thin)
    return found


def row(used: Sequence[Evidence], tested: Sequence[Evidence], prior: Prior, whole: float) -> dict[str, object]:
    """Gaps after these cells, the share of intervals that hold the measured optimum, and what the cells cost."""
    fit = agreement(prior.belief, used)
    belief = product(fit.prior, information(fit.prior, used))
    covered = [inside for e in tested for inside in left.covered(e, *left.estimate(belief, e.cell))]
    return {
        "cells": len(used),
        "runs": sum(len(e.cell.points) for e in used),
        "share_of_compute": round(sum(map(left.compute, used)) / whole, 5),
        "gap": mean_gap(tested, lambda e: left.choice(belief, e.cell)[0]),
        "coverage": round(float(np.mean(covered)), 3),
        "prior_widened": round(fit.widened, 2),
        "refit_alone": refit(used, tested),
        "constant_shift": shifted(used, tested),
    }


def mean_gap(tested: Sequence[Evidence], choose: Callable[[Evidence], Array]) -> float:
    """Mean over the tested cells, per cent."""
    return round(float(np.mean([left.gap(e, choose(e)) for e in tested])), 3)


def refit(used: Sequence[Evidence], tested: Sequence[Evidence]) -> float | None:
    """Least squares of the cells' own optima on (1, ln N, ln D); None where they do not determine it."""
    if len(used) < 4:
        return None
    X = np.array([features(e) for e in used])
    if np.linalg.svd(X[:, 1:] - X[:, 1:].mean(0), compute_uv=False)[1] < TOLD_APART * np.sqrt(len(used)):
        return None
    theta = np.linalg.lstsq(X, np.array([left.own_optimum(e) for e in used]))[0]
    return mean_gap(tested, lambda e: features(e) @ theta)


def features(e: Evidence) -> Array:
    """(1, ln N, ln D)."""
    return np.array([1.0, np.log(e.cell.params), np.log(e.cell.tokens)])


def shifted(used: Sequence[Evidence], tested: Sequence[Evidence]) -> float | None:
    """Step Law times the cells' mean ratio of their own optimum to it; where the batch is fixed, of the rate only."""
    if not used:
        return None
    offs = []
    for e in used:
        stated = left.published("step-law", e.cell)
        if e.kind == "optimum" or e.cell.spread[1]:
            offs.append(left.own_optimum(e) - stated)
        else:
            offs.append(np.array([left.own_optimum(e)[0] - left.at_batch(stated, e.cell.points[0, 1]), 0.0]))
    shift = np.mean(offs, axis=0)
    return mean_gap(tested, lambda e: left.published("step-law", e.cell) + shift)


def means(labs: dict[str, Any]) -> dict[str, object]:
    """Over labs, each counting once."""

    def over(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return round(float(np.mean(known)), 3) if known else None

    published = {name: over([lab["published"].get(name) for lab in labs.values()]) for name in PUBLISHED}
    keys = ("gap", "coverage", "refit_alone", "constant_shift", "share_of_compute")
    stages = [*(f"{k} cells" for k in CHEAPEST), "one_percent"]
    calibrated = {s: {k: over([lab["calibrated"][s][k] for lab in labs.values()]) for k in keys} for s in stages}
    best = min(v for v in published.values() if v is not None)
    return {"published": published, "best_published": best, "calibrated": calibrated}


def plan_seconds() -> dict[str, object]:
    """CPU seconds of `forescale plan --runs` on 2,000 runs, as a process."""
    rng = np.random.default_rng(0)
    rows = []
    for params in (5e7, 1e8, 2e8, 4e8):
        for ratio in (10.0, 20.0, 40.0, 80.0, 160.0):
            best = np.log([1.79 * params**-0.713 * (params * ratio) ** 0.307, 0.58 * (params * ratio) ** 0.571])
            for rate, batch in rng.uniform(-2, 2, (100, 2)) * np.log(2) + best:
                off = 0.006 * ((rate - best[0]) ** 2 + (batch - best[1]) ** 2)
                rows.append(
                    (params, params * ratio, np.exp(rate), np.exp(batch), 3 * np.exp(off + 0.001 * rng.normal()))
                )
    table = pl.DataFrame(rows, schema=["params", "tokens", "learning_rate", "batch_tokens", "loss"], orient="row")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        table.write_csv(path)
        command = ["-m", "forescale", "plan", "--params", "7B", "--tokens", "140B", "--runs", str(path), "--json"]
        seconds = harness.interleaved(ROUNDS, {"plan": lambda: harness.process_cpu_seconds(command)})["plan"]
    return {"runs": len(rows), "cells": 20, "cpu_seconds": round(float(np.median(seconds)), 2), "rounds": ROUNDS}


if __name__ == "__main__":
    main()
