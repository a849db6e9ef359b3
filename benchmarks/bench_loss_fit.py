"""Chinchilla's law on Epoch's 240 points: our fit against scipy's L-BFGS-B from 4,500 starts, and the bootstraps of both.

Run with OMP_NUM_THREADS=1: a second thread's waiting would count as CPU time. scipy runs a random sample of the starts
in every round; its time for all 4,500 is the sample's scaled up, which is stated in the results.
"""

from __future__ import annotations

import itertools
import os
import statistics
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize

import harness
from forescale.fit.loss._families import make_form
from forescale.fit.loss._law import DRAW_ROUNDS, DRAW_TOLERANCE, fit_loss_law, resample_counts
from forescale.fit.loss._robust import minimise
from forescale.fit.loss._search import search

DELTA = 1e-3
ROUNDS = 5
SAMPLED, ALL = 90, 4500  # starts a round, starts of the grid of Hoffmann et al.
WARM, RESAMPLES = 20, 1000
ALPHAS, LEVELS, LOGS = (0, 0.5, 1, 1.5, 2), (-1, -0.5, 0, 0.5, 1), (0, 5, 10, 15, 20, 25)


def runs() -> dict[str, Any]:
    table = pl.read_csv(harness.DATA / "epoch-chinchilla" / "svg_extracted_data.csv").sort("loss")[:-5]
    N, C, L = (table[c].to_numpy() for c in ("Model Size", "Training FLOP", "loss"))
    return {"params": N, "tokens": C / (6 * N), "loss": L}


def peer(n: Any, d: Any, y: Any) -> Any:
    """Scipy's fit from one start with the exact gradient: a, b, e, alpha, beta of exp(a - alpha n) + ... + exp(e)."""

    def objective(theta: Any, counts: Any) -> tuple[float, Any]:
        a, b, e, alpha, beta = theta
        terms = np.stack([a - alpha * n, b - beta * d, np.full_like(n, e)])
        top = terms.max(axis=0)
        shares = np.exp(terms - top)
        total = shares.sum(axis=0)
        r = top + np.log(total) - y
        size = np.abs(r)
        inner = np.minimum(size, DELTA)
        psi = counts * np.clip(r, -DELTA, DELTA)
        p, q, s = psi * shares / total
        gradient = np.array([p.sum(), q.sum(), s.sum(), -(p @ n), -(q @ d)])
        return float(counts @ (inner * (size - inner / 2))), gradient

    def fit(start: Any, counts: Any) -> tuple[float, Any]:
        options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-10}
        done = minimize(objective, start, args=(counts,), jac=True, method="L-BFGS-B", options=options)
        return float(done.fun), done.x

    return fit


def main() -> None:
    x = runs()
    y, n, d = np.log(x["loss"]), np.log(x["params"]), np.log(x["tokens"])
    starts = np.array([(a, b, e, f, g) for f, g, e, a, b in itertools.product(ALPHAS, ALPHAS, LEVELS, LOGS, LOGS)])
    rng = np.random.default_rng(0)
    ones, fit = np.ones_like(y), peer(n, d, y)
    form = make_form("additive", x, x["loss"])
    found = search(form, y, DELTA)
    counts = resample_counts(np.arange(len(y)), RESAMPLES, 0)
    theirs: list[float] = []
    pairs: list[tuple[float, float]] = []
    made = form.constants(found.theta[None])
    values = [float(made[k][0]) for k in ("A", "B", "E", "alpha", "beta")]
    warm = np.array([*np.log(values[:3]), *values[3:]])

    def ours() -> None:
        columns = {k: x[k] for k in ("params", "tokens")}
        search(make_form("additive", columns, x["loss"]), y, DELTA)

    def sample() -> None:
        theirs.extend(fit(s, ones)[0] for s in starts[rng.choice(len(starts), SAMPLED, replace=False)])

    def draws() -> Any:
        start = np.repeat(found.theta[None], RESAMPLES, axis=0)
        return minimise(form.model, y, start, counts, DELTA, rounds=DRAW_ROUNDS, tolerance=DRAW_TOLERANCE)[1]

    drawn = draws()

    def warm_sample() -> None:
        chosen = rng.choice(RESAMPLES, WARM, replace=False)
        pairs.extend((fit(warm, counts[i])[0], float(drawn[i])) for i in chosen)

    cpu = harness.call_cpu_seconds
    variants = {
        "fit": lambda: cpu(ours),
        "scipy": lambda: cpu(sample) * ALL / SAMPLED,
        "bootstrap": lambda: cpu(draws),
        "scipy_bootstrap": lambda: cpu(warm_sample) * RESAMPLES / WARM,
        "whole": lambda: cpu(lambda: fit_loss_law(x, "additive")),
    }
    seconds = harness.interleaved(ROUNDS, variants)
    best, own = min(theirs), found.objective * len(y)
    harness.write(
        "loss_fit",
        ["forescale", "numpy", "scipy"],
        threads=os.environ.get("OMP_NUM_THREADS", "unset"),
        runs=len(y),
        rounds=ROUNDS,
        scipy_starts={"run_each_round": SAMPLED, "scaled_to": ALL, "reach_optimum": _reach(theirs, min(best, own))},
        scipy_resamples={"run_each_round": WARM, "scaled_to": RESAMPLES},
        median_cpu_seconds={name: statistics.median(v) for name, v in seconds.items()},
        speedup={
            "fit": harness.median_ratio(seconds["scipy"], seconds["fit"]),
            "fit_with_bootstrap_spread_and_extrapolation": harness.median_ratio(seconds["scipy"], seconds["whole"]),
            "bootstrap": harness.median_ratio(seconds["scipy_bootstrap"], seconds["bootstrap"]),
        },
        objective={
            "ours": own,
            "scipy_best": best,
            "ours_over_scipy_minus_1": own / best - 1,
            "bootstrap_worst_ours_over_scipy_minus_1": max(b / a - 1 for a, b in pairs),
        },
        targets={"fit_speedup": 1000, "objective": 1e-8, "bootstrap_cpu_seconds": 2.0},
    )


def _reach(found: list[float], best: float) -> float:
    return sum(f <= best * (1 + 1e-6) for f in found) / len(found)


if __name__ == "__main__":
    main()
