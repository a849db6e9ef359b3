"""Many least-squares fits at once: each is a weighting of the same rows, so one matrix product makes them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

SINGULAR = 1e-9  # of a standardised feature's variance left by the features before it: no slope can be told
BLOCK = 100  # resamples drawn at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """The sums that log-linear fits are made of, one row a unit: a point, or a group of points that share a fate.

    `products` holds for each unit the products of (1, standardised features, centred targets), flattened; target k is
    regressed on a constant and the features `uses[k]`.
    """

    products: Array
    centre: Array
    scale: Array
    target_centre: Array
    uses: tuple[tuple[int, ...], ...]

    def solve(self, counts: Any) -> tuple[Array, ...]:
        """Intercepts and slopes of every target, where row r of `counts` says how often each unit counts in fit r.

        NaN where the units that count do not tell the slopes apart.
        """
        import numpy as np

        size = len(self.centre) + len(self.target_centre) + 1
        gram = (np.asarray(counts, dtype=float) @ self.products).reshape(-1, size, size)
        return tuple(self._target(gram, k, use) for k, use in enumerate(self.uses))

    def _target(self, gram: Array, k: int, use: Sequence[int]) -> Array:
        import numpy as np

        chosen = [0, *(1 + i for i in use)]
        found = solve_positive(gram[:, chosen][:, :, chosen], gram[:, chosen, 1 + len(self.centre) + k])
        slopes = found[:, 1:] / self.scale[list(use)]
        intercept = self.target_centre[k] + found[:, 0] - slopes @ self.centre[list(use)]
        return np.column_stack([intercept, slopes])


def regression(
    features: Array,
    targets: Array,
    uses: Sequence[Sequence[int]],
    *,
    weights: Array | None = None,
    groups: Indices | None = None,
) -> Regression:
    """Prepare fits of `targets` (n, k) on `features` (n, p), rows weighted by `weights`, added up over `groups`."""
    import numpy as np

    centre, target_centre = features.mean(0), targets.mean(0)
    spread = features.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    # Centred and scaled, so that squaring the design (normal equations) costs no digits that matter.
    rows = np.column_stack([np.ones(len(features)), (features - centre) / scale, targets - target_centre])
    products = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    if weights is not None:
        products = products * weights[:, None]
    return Regression(
        products=products if groups is None else add_up(products, groups),
        centre=centre,
        scale=scale,
        target_centre=target_centre,
        uses=tuple(tuple(use) for use in uses),
    )


def add_up(rows: Array, groups: Indices) -> Array:
    """Sums of the rows of each group, by group number."""
    import numpy as np

    sums = np.zeros((int(groups.max()) + 1, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums


def solve_positive(matrices: Array, right: Array) -> Array:
    """Solve many small symmetric positive systems (r, p, p) x = (r, p) at once; NaN where one is singular.

    Gauss-Jordan without pivoting, which positive definite systems allow, each step over all systems together.
    """
    import numpy as np

    table = np.ascontiguousarray(np.concatenate([matrices, right[:, :, None]], axis=2).transpose(1, 2, 0))
    size = len(table)
    least = SINGULAR * np.maximum(np.stack([table[i, i] for i in range(size)]), np.finfo(float).tiny)
    singular = np.zeros(len(matrices), dtype=bool)
    for i in range(size):
        lost = table[i, i] <= least[i]
        singular |= lost
        row = table[i] / np.where(lost, 1.0, table[i, i])
        table -= table[:, i, None] * row
        table[i] = row
    return np.where(singular[:, None], np.nan, table[:, -1].T)


def resample_counts(units: int, resamples: int, seed: int) -> Array:
    """How often each unit is drawn in each bootstrap: `units` draws with replacement, (resamples, units)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, units))
    for start in range(0, resamples, BLOCK):  # the same draws as all at once, but they stay in the cache
        block = counts[start : start + BLOCK]
        drawn = rng.integers(0, units, block.shape)
        drawn += units * np.arange(len(block))[:, None]
        block[:] = np.bincount(drawn.ravel(), minlength=block.size).reshape(block.shape)
    return counts


def all_but_one(units: int) -> Array:
    """Counts of the fits that leave one unit out, in order: (units, units)."""
    import numpy as np

    return 1.0 - np.eye(units)
