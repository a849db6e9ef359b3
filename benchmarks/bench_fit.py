"""Step Law's fit with 1,000 bootstraps on the dense sweep, against a loop that fits one resample at a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import harness
from forescale.fit import make_cells
from forescale.fit._optima import near_points
from forescale.fit._regression import regression, resample_counts
from forescale.runs import read_runs

RESAMPLES = 1000
ROUNDS = 5
SEED = 42


def main() -> None:
    """Write the ratios of CPU time, and how far the coefficients of the same resamples are apart."""
    features, targets = points()
    loops = {"numpy lstsq loop": lstsq_loop}
    if find_spec("sklearn"):
        loops["scikit-learn loop"] = sklearn_loop
    samples = harness.interleaved(
        ROUNDS, {name: timed(call, features, targets) for name, call in {"forescale": ours, **loops}.items()}
    )
    mine = np.hstack(ours(features, targets))
    harness.write(
        "fit",
        ["forescale", "numpy", "scikit-learn"],
        task=f"lr on N and D, batch on D: {len(features)} points, {RESAMPLES} bootstraps over points",
        peers=list(loops),
        cpu_seconds={name: statistics.median(values) for name, values in samples.items()},
        times_faster={name: 1 / harness.median_ratio(samples["forescale"], samples[name]) for name in loops},
        largest_relative_difference={
            name: difference(mine, np.hstack(call(features, targets))) for name, call in loops.items()
        },
    )


def points() -> tuple[Any, Any]:
    """The near-optimal runs: ln N and ln D, ln lr and ln batch."""
    cells = make_cells(read_runs(harness.DATA / "step-law" / "dense_lr_bs_loss.csv", seq_len=2048)).cells
    near = near_points(cells)
    return np.log([[c.params, c.tokens] for c in cells])[near.cell], near.at


def timed(call: Callable[[Any, Any], object], features: Any, targets: Any) -> Callable[[], float]:
    return lambda: harness.call_cpu_seconds(lambda: call(features, targets))


def ours(features: Any, targets: Any) -> Any:
    """One matrix product and one batch of solutions, drawing the resamples included."""
    return regression(features, targets, [(0, 1), (1,)]).solve(resample_counts(len(features), RESAMPLES, SEED))


def drawn(size: int) -> Any:
    """Rows of the same resamples."""
    return np.random.default_rng(SEED).integers(0, size, (RESAMPLES, size))


def lstsq_loop(features: Any, targets: Any) -> Any:
    """Numpy's least squares, one resample at a time."""
    design = np.column_stack([np.ones(len(features)), features])
    fits = [
        (np.linalg.lstsq(design[i], targets[i, 0])[0], np.linalg.lstsq(design[i][:, [0, 2]], targets[i, 1])[0])
        for i in drawn(len(features))
    ]
    return [np.array(side) for side in zip(*fits, strict=True)]


def sklearn_loop(features: Any, targets: Any) -> Any:
    """scikit-learn's LinearRegression, one resample at a time, as the authors' tool has it."""
    from sklearn.linear_model import LinearRegression

    def fit(X: Any, y: Any) -> Any:
        model = LinearRegression().fit(X, y)
        return np.array([model.intercept_, *model.coef_])

    fits = [(fit(features[i], targets[i, 0]), fit(features[i][:, 1:], targets[i, 1])) for i in drawn(len(features))]
    return [np.array(side) for side in zip(*fits, strict=True)]


def difference(a: Any, b: Any) -> float:
    return float((np.abs(a - b) / np.abs(b)).max())


if __name__ == "__main__":
    main()
