"""What a fit's coefficients would have been on other draws of the same cells, or of the same points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit._fitted import Bootstrap, Coefficient
from forescale.fit._problem import Problem
from forescale.fit._protocols import BOWL, Candidate, point_regression, solver
from forescale.fit._regression import resample_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit._cells import Array

OVER = ("cells", "points")
LEAST = 0.02  # of the smallest spread of all cells' inputs in any direction: a draw with less tells nothing of it
FEWEST = 20  # draws that an interval can be read from


def bootstrap(
    problem: Problem, candidate: Candidate, *, over: str, resamples: int, seed: int
) -> tuple[tuple[Array, ...], Bootstrap]:
    """Draws of each quantity's coefficients; `cells` are resampled whole, because runs of one cell are not independent.

    Raises `ForescaleError` where too few draws determine the law.
    """
    import numpy as np

    draws, told = _draws(problem, candidate, over, resamples, seed)
    sound = told & np.all([np.isfinite(draw).all(1) for draw in draws], axis=0)
    if sound.sum() < FEWEST:
        raise ForescaleError(
            f"only {int(sound.sum())} of {resamples} resamples of the cells determine {candidate.name}: use at least "
            f"{FEWEST} bootstraps, or add cells."
        )
    summary = Bootstrap(over=over, resamples=resamples, dropped=int(resamples - sound.sum()), seed=seed)
    return tuple(draw[sound] for draw in draws), summary


def _draws(
    problem: Problem, candidate: Candidate, over: str, resamples: int, seed: int
) -> tuple[tuple[Array, ...], NDArray[np.bool_]]:
    import numpy as np

    if resamples < FEWEST or seed < 0:
        raise ForescaleError(
            f"a bootstrap needs at least {FEWEST} resamples and a seed of 0 or more; got {resamples} and {seed}."
        )
    if over not in OVER:
        raise ForescaleError(f"a bootstrap resamples {' or '.join(OVER)}; got {over!r}.")
    if over == "cells":
        counts = resample_counts(len(problem.cells), resamples, seed)
        return solver(problem, candidate)(counts), spread_enough(problem.features, counts)
    if candidate.protocol == BOWL:
        raise ForescaleError("the bowl is fitted to cells, not to points: resample cells.")
    fits = point_regression(problem, candidate, by_cell=False)
    counts = resample_counts(len(fits.products), resamples, seed)
    return fits.solve(counts), np.ones(resamples, dtype=bool)


def spread_enough(features: Array, counts: Array) -> NDArray[np.bool_]:
    """Which draws of cells vary in every direction of the inputs, against the cells themselves."""
    import numpy as np

    rows: Array = (features - features.mean(0)) / features.std(0)
    root = np.linalg.cholesky(rows.T @ rows / len(rows))
    rows = np.asarray(np.linalg.solve(root, rows.T).T, dtype=float)  # unit variance in every direction
    share = counts / counts.sum(1, keepdims=True)
    means = share @ rows
    second: Array = np.einsum("rc,ci,cj->rij", share, rows, rows) - means[:, :, None] * means[:, None, :]
    return np.linalg.eigvalsh(second)[:, 0] > LEAST


def coefficients(names: Sequence[str], theta: Array, draws: Array) -> dict[str, Coefficient]:
    """Values with their standard errors, 80 % intervals and means over the draws."""
    import numpy as np

    low, high = np.percentile(draws, [10, 90], axis=0)
    table = zip(names, theta, draws.std(0, ddof=1), low, high, draws.mean(0), strict=True)
    return {
        name: Coefficient(value=float(v), stderr=float(s), low=float(a), high=float(b), mean=float(m))
        for name, v, s, a, b, m in table
    }
