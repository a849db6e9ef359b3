"""The surface on Step Law's released sweeps: R2, gap and interval coverage on cells left out, beside peers in one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl

import harness
from forescale.fit import score
from forescale.fit.surface import fit_surface, score_surface
from forescale.laws import law
from forescale.runs import Runs, read_runs

COMPUTE = pl.col("active_params") * pl.col("tokens")
SPLITS = {
    "dense": {
        "largest model": pl.col("params") > 1e9,
        "two largest models": pl.col("params") > 5e8,
        "largest two token counts": pl.col("tokens") > 7e10,
        "four most expensive cells": COMPUTE > 1.8e19,
        "six most expensive cells": COMPUTE > 1.5e19,
        "four cheapest cells": COMPUTE < 5e18,
    },
    "moe": {
        "largest active size": pl.col("active_params") > 1e9,
        "largest token count": pl.col("tokens") > 1.5e10,
        "two largest token counts": pl.col("tokens") > 7e9,
        "smallest active size": pl.col("active_params") < 1.9e8,
    },
}
NEAR = 0.05
MOST = 300  # runs of the Gaussian process
COLUMNS = ("learning_rate", "batch_tokens", "params", "active_params", "tokens")

Predict = Callable[[Runs], Any]


def main() -> None:
    """Write every split's R2 of the surface and of its peers, over all runs that trained and near each cell's best."""
    sweeps = {
        name: read_runs(harness.DATA / "step-law" / f"{name}_lr_bs_loss.csv", seq_len=2048) for name in ("dense", "moe")
    }
    results = {
        name: {split: compare(runs, out) for split, out in SPLITS[name].items()} | {"each cell in turn": in_turn(runs)}
        for name, runs in sweeps.items()
    }
    results["moe"]["fitted on dense, scored on moe"] = ours(sweeps["dense"], sweeps["moe"])
    harness.write(
        "surface",
        ["forescale", "numpy", "scipy", "scikit-learn"],
        rows="r2: runs that did not diverge; near: those within 5 % of their cell's lowest loss; gap: per cent, smooth",
        ceiling="a Gaussian process in each cell left out, itself fitted to that cell, each run left out once",
        results=results,
        cpu_seconds={
            name: harness.call_cpu_seconds(lambda runs=runs: fit_surface(runs)) for name, runs in sweeps.items()
        },
    )


def part(runs: Runs, chosen: pl.Expr) -> Runs:
    return replace(runs, frame=runs.frame.filter(chosen))


def compare(runs: Runs, out: pl.Expr) -> dict[str, Any]:
    train, test = part(runs, ~out), part(runs, out)
    found = {"surface": ours(train, test)}
    found |= {name: r2s(test, fit(train)(test)) for name, fit in peers().items()}
    if find_spec("sklearn"):
        found["ceiling"] = r2s(test, np.concatenate([smoothed(cell) for cell in by_cell(test)]), sort=True)
    return found


def ours(train: Runs, test: Runs) -> dict[str, Any]:
    surface = fit_surface(train)
    scored = score_surface(test, surface)
    published = score(test, ["step-law"]).laws[0]
    return {
        "r2": scored.r2,
        "near": scored.near.r2,
        "mae": scored.mae,
        "with_diverged": scored.with_diverged.r2,
        "covered": scored.all.covered,
        "gap": scored.choice and 100 * scored.choice.smooth.mean,
        "gap_of_published_step_law": 100 * published.smooth.mean,
        "divergence": dict(scored.called),
        "cells": [{"r2": c.all.r2, "near": c.near.r2, "bias_percent": 100 * (c.near.bias or 0)} for c in scored.cells],
    }


def in_turn(runs: Runs) -> dict[str, Any]:
    """Each cell left out once: R2 over all of them together, coverage, mean gap."""
    cells = runs.frame["cell"].unique().sort().to_list()
    tests = [part(runs, pl.col("cell") == cell) for cell in cells]
    fits = [fit_surface(part(runs, pl.col("cell") != cell)) for cell in cells]
    scores = [score_surface(test, surface) for test, surface in zip(tests, fits, strict=True)]
    predicted = [s.predict(*_arguments(t)) for s, t in zip(fits, tests, strict=True)]
    together = replace(runs, frame=pl.concat([t.frame for t in tests]))
    total = sum(s.all.runs for s in scores)
    return r2s(together, np.concatenate(predicted)) | {
        "covered": sum((s.all.covered or 0) * s.all.runs for s in scores) / total,
        "gap": float(np.mean([100 * s.choice.smooth.mean for s in scores if s.choice])),
        "gap_of_published_step_law": 100 * score(runs, ["step-law"]).laws[0].smooth.mean,
    }


def _arguments(runs: Runs) -> list[Any]:
    return [
        runs.frame[name].to_numpy() for name in ("params", "tokens", "learning_rate", "batch_tokens", "active_params")
    ]


def r2s(test: Runs, predicted: Any, *, sort: bool = False) -> dict[str, float]:
    frame = test.frame.sort("cell", maintain_order=True) if sort else test.frame
    loss, kept = frame["loss"].to_numpy(), ~frame["diverged"].to_numpy()
    lowest = frame.select(pl.col("loss").min().over("cell"))["loss"].to_numpy()
    near = kept & (loss <= (1 + NEAR) * lowest)
    return {"r2": r2(loss[kept], predicted[kept]), "near": r2(loss[near], predicted[near])}


def r2(y: Any, p: Any) -> float:
    return 1 - float(((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def logs(runs: Runs) -> Any:
    """Logarithms of lr, B, N, Na and D over usual values."""
    usual = (2e-3, 5e5, 4e8, 4e8, 2e10)
    return np.stack([np.log(runs.frame[c].to_numpy() / unit) for c, unit in zip(COLUMNS, usual, strict=True)], axis=1)


def trained(runs: Runs) -> Runs:
    return part(runs, ~pl.col("diverged"))


def by_cell(runs: Runs) -> list[Runs]:
    return [part(runs, pl.col("cell") == c) for c in runs.frame["cell"].unique().sort().to_list()]


def peers() -> dict[str, Callable[[Runs], Predict]]:
    found: dict[str, Callable[[Runs], Predict]] = {"Chinchilla and a parabola around Step Law": parabola}
    if find_spec("sklearn"):
        found |= {"quadratic in logs": quadratic, "gaussian process": process, "gradient boosting": boosting}
    return found


def parabola(train: Runs) -> Predict:
    """A law as a person writes it: E + A / N^a + B / D^b, times a quadratic form about published Step Law's optimum."""
    from scipy.optimize import least_squares

    published = law("step-law")

    def inputs(runs: Runs) -> Any:
        n, d = runs.frame["params"].to_numpy(), runs.frame["tokens"].to_numpy()
        c = {q: published.formula(q) for q in ("learning_rate", "batch_tokens")}
        best = [
            f.constants["coefficient"] * n ** f.exponents.get("params", 0) * d ** f.exponents.get("tokens", 0)
            for f in c.values()
        ]
        u = np.log(runs.frame["learning_rate"].to_numpy() / best[0])
        v = np.log(runs.frame["batch_tokens"].to_numpy() / best[1])
        return np.log(n / 4e8), np.log(d / 2e10), u, v

    def formula(p: Any, x: Any) -> Any:
        n, d, u, v = x
        level = np.exp(p[0]) + np.exp(p[1] - p[2] * n) + np.exp(p[3] - p[4] * d)
        return level * (1 + p[5] * u * u + p[6] * v * v + p[7] * u * v + p[8] * u + p[9] * v)

    kept = trained(train)
    loss = kept.frame["loss"].to_numpy()
    start = [0.5, -0.5, 0.34, -0.7, 0.37, 0.005, 0.005, 0, 0, 0]
    at = inputs(kept)
    p = least_squares(lambda p: formula(p, at) - loss, start, max_nfev=5000).x
    return lambda runs: formula(p, inputs(runs))


def quadratic(train: Runs) -> Predict:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    return learner(make_pipeline(PolynomialFeatures(2), Ridge(1e-3)), train)


def process(train: Runs) -> Predict:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    kernel = ConstantKernel(1.0) * RBF(np.full(5, 2.0), (0.1, 100)) + DotProduct() + WhiteKernel(0.01)
    return learner(GaussianProcessRegressor(kernel, normalize_y=True, random_state=0), train, most=MOST)


def boosting(train: Runs) -> Predict:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return learner(HistGradientBoostingRegressor(random_state=0), train)


def learner(model: Any, train: Runs, most: int | None = None) -> Predict:
    kept = trained(train)
    if most is not None and kept.frame.height > most:  # its cost grows with the cube of the runs
        kept = replace(kept, frame=kept.frame.sample(most, seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound: an input that does not vary
        model.fit(logs(kept), np.log(kept.frame["loss"].to_numpy()))
    return lambda runs: np.exp(model.predict(logs(runs)))


def smoothed(cell: Runs) -> Any:
    """Each run's loss by the others of its cell: a quadratic and a Gaussian process, the widths of least error."""
    loss, kept = cell.frame["loss"].to_numpy(), ~cell.frame["diverged"].to_numpy()
    x = logs(cell)[kept, :2]
    x = (x - x.mean(0)) / x.std(0)
    y = np.log(loss[kept])
    powers = np.stack([x[:, 0] ** i * x[:, 1] ** j for i in range(3) for j in range(3 - i)], axis=1)
    squared = ((x[:, None] - x) ** 2).sum(-1)
    errors = []
    for width in (1.0, 1.5, 2.0, 3.0):
        for noise in (1e-3, 1e-2, 3e-2, 1e-1):
            kernel = np.exp(-squared / 2 / width**2) + 1e3 * powers @ powers.T + noise * np.eye(len(y))
            inverse = np.linalg.inv(kernel)
            errors.append(inverse @ y / np.diag(inverse))
    best = min(errors, key=lambda e: float((e**2).sum()))
    predicted = np.full(len(loss), np.nan)
    predicted[kept] = np.exp(y - best)
    return predicted


if __name__ == "__main__":
    main()
