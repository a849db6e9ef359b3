"""The pooled bowl: one law fitted to losses instead of to optima, in one weighted least squares.

ln loss = offset of the cell + a quadratic form in (ln learning rate, ln batch) that all cells share + a slope that is
linear in the cell's features. The minimum of such a bowl is linear in the features: a power law for each quantity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit._cells import Cell
from forescale.fit._optima import near
from forescale.fit._regression import add_up, solve_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

WITHIN = 0.01  # runs this close to their cell's lowest loss; wider, the bowl's lack of asymmetry shows (facts 2.3)
SOFT = 0.002  # a run's weight is 1 / (gap + SOFT)²: nearly flat within the noise of a run


@dataclass(frozen=True, kw_only=True, eq=False)
class Bowl:
    """The sums the bowl is made of, one row a cell; `axes` are the columns of the points that were swept."""

    products: Array
    axes: tuple[int, ...]
    centre: Array
    scale: Array
    point_centre: Array
    point_scale: Array

    def solve(self, counts: Any) -> tuple[Array, ...]:
        """Intercept and slopes of each axis's optimum for each row of `counts`; NaN where the bowl is not convex."""
        import numpy as np

        forms, inputs = _forms(len(self.axes)), 1 + len(self.centre)
        size = len(forms) + len(self.axes) * inputs
        gram = (np.asarray(counts, dtype=float) @ self.products).reshape(-1, size + 1, size + 1)
        found = solve_positive(gram[:, :size, :size], gram[:, :size, size])
        centres = _centres(found[:, : len(forms)], found[:, len(forms) :].reshape(-1, len(self.axes), inputs))
        return tuple(self._original(centres[:, i], i) for i in range(len(self.axes)))

    def _original(self, centre: Array, i: int) -> Array:
        import numpy as np

        slopes = self.point_scale[i] * centre[:, 1:] / self.scale
        intercept = self.point_centre[i] + self.point_scale[i] * centre[:, 0] - slopes @ self.centre
        return np.column_stack([intercept, slopes])


def bowl(cells: Sequence[Cell], features: Array, axes: Sequence[int], within: float = WITHIN) -> Bowl:
    """Prepare the bowl of `cells` with `features` (a row a cell), from the runs within the share `within` of the best."""
    import numpy as np

    chosen = [near(cell, within) for cell in cells]
    points = np.concatenate([cell.points[k] for cell, k in zip(cells, chosen, strict=True)])[:, list(axes)]
    gap = np.concatenate([(c.log_loss - c.log_loss.min())[k] for c, k in zip(cells, chosen, strict=True)])
    owner = np.repeat(np.arange(len(cells)), [int(k.sum()) for k in chosen])
    at, point_centre, point_scale = _standard(points)
    of_cell, centre, scale = _standard(features)
    rows = np.column_stack([*_columns(at, of_cell[owner]), gap])
    weights = (gap + SOFT) ** -2.0
    rows = _without_offsets(rows, weights, owner)
    products = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1) * weights[:, None]
    return Bowl(
        products=add_up(products, owner),
        axes=tuple(axes),
        centre=centre,
        scale=scale,
        point_centre=point_centre,
        point_scale=point_scale,
    )


def _standard(values: Array) -> tuple[Array, Array, Array]:
    import numpy as np

    spread = values.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    return (values - values.mean(0)) / scale, values.mean(0), scale


def _forms(axes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(axes) for j in range(i, axes)]


def _columns(at: Array, features: Array) -> list[Array]:
    import numpy as np

    inputs = np.column_stack([np.ones(len(at)), features])
    forms = [at[:, i] * at[:, j] for i, j in _forms(at.shape[1])]
    return [*forms, *(at[:, [i]] * inputs for i in range(at.shape[1]))]


def _without_offsets(rows: Array, weights: Array, owner: NDArray[np.int64]) -> Array:
    """Rows less their cell's weighted mean, which solves for the cells' offsets (Frisch, Waugh and Lovell)."""
    import numpy as np

    totals = add_up(np.column_stack([rows * weights[:, None], weights]), owner)
    return rows - (totals[:, :-1] / totals[:, -1:])[owner]


def _centres(forms: Array, slopes: Array) -> Array:
    """Where the bowls have their minima, linear in the features; NaN where a bowl has none."""
    import numpy as np

    if slopes.shape[1] == 1:
        hessian = np.where(forms > 0, 2 * forms, np.nan)[:, :, None]
        return -slopes / hessian
    a, b, c = 2 * forms[:, 0], forms[:, 1], 2 * forms[:, 2]
    determinant = a * c - b * b
    determinant = np.where((a > 0) & (determinant > 0), determinant, np.nan)
    inverse = np.array([[c, -b], [-b, a]]).transpose(2, 0, 1) / determinant[:, None, None]
    return -inverse @ slopes
