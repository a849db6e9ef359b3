"""From cells to points: where each cell's optimum is, read in several ways, all in (ln learning rate, ln batch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.fit._cells import Cell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NEAR = 0.0025  # Step Law's filter (the authors' fit_tool.py): runs within 0.25 % of the cell's lowest loss
WINDOWS = (0.015, 0.02, 0.03, 0.05)  # around the minimum, for a quadratic: the first that holds enough runs
ENOUGH = 10  # runs for a quadratic in two variables, which has six coefficients
ENOUGH_ON_A_LINE = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Optima of cells: (ln learning rate, ln batch) row by row, and the number of the cell each row is of."""

    at: Array
    cell: NDArray[np.int64]


def near_points(cells: Sequence[Cell], within: float = NEAR) -> Points:
    """Every run within the share `within` of its cell's lowest loss, as Step Law takes them."""
    return _points(cells, lambda cell: cell.points[near(cell, within)])


def argmins(cells: Sequence[Cell]) -> Points:
    """Each cell's best run."""
    return _points(cells, lambda cell: cell.points[[cell.log_loss.argmin()]])


def centroids(cells: Sequence[Cell], within: float = NEAR) -> Points:
    """The mean of each cell's near-optimal runs: the fit through them is that of `near_points` with equal cells."""
    return _points(cells, lambda cell: cell.points[near(cell, within)].mean(0)[None])


def vertices(cells: Sequence[Cell]) -> Points:
    """The minimum of a quadratic in each cell; its best run where the quadratic has none inside the sweep."""
    return _points(cells, lambda cell: _vertex(cell)[None])


def near(cell: Cell, within: float) -> NDArray[np.bool_]:
    """Which runs are within the share `within` of the cell's lowest loss."""
    import numpy as np

    return np.expm1(cell.log_loss - cell.log_loss.min()) < within


def quadratic(cell: Cell, within: float) -> Array:
    """Coefficients of (1, u, v, u², uv, v²) of the ln loss gap, u and v in octaves from the best run.

    By least squares on the runs within the share `within` of the lowest loss.
    """
    import numpy as np

    chosen, best = near(cell, within), cell.log_loss.argmin()
    offsets: Array = (cell.points - cell.points[best]) / np.log(2)
    u, v = offsets[chosen].T
    design = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    return _least_squares(design, cell.log_loss[chosen] - cell.log_loss[best])


def _points(cells: Sequence[Cell], of: Callable[[Cell], Array]) -> Points:
    import numpy as np

    rows = [of(cell) for cell in cells]
    return Points(at=np.concatenate(rows), cell=np.repeat(np.arange(len(rows)), [len(r) for r in rows]))


def _vertex(cell: Cell) -> Array:
    import numpy as np

    best: Array = cell.points[cell.log_loss.argmin()]
    offset = _vertex_offset(cell, cell.spread)
    if offset is None:
        return best
    found: Array = best + offset * np.log(2)
    return found if np.all((found >= cell.points.min(0)) & (found <= cell.points.max(0))) else best


def _vertex_offset(cell: Cell, spread: tuple[bool, bool]) -> Array | None:
    """Octaves from the best run to the quadratic's minimum; None where it has none or the runs are too few."""
    import numpy as np

    if sum(spread) == 1:
        return _parabola_offset(cell, spread.index(True))
    within = next((w for w in WINDOWS if near(cell, w).sum() >= ENOUGH), None)
    if within is None:
        return None
    c = quadratic(cell, within)
    hessian: Array = np.array([[2 * c[3], c[4]], [c[4], 2 * c[5]]])
    offset = np.asarray(np.linalg.solve(hessian, -c[1:3]), dtype=float)
    return offset if np.linalg.eigvalsh(hessian)[0] > 0 else None


def _parabola_offset(cell: Cell, axis: int) -> Array | None:
    import numpy as np

    within = next((w for w in WINDOWS if near(cell, w).sum() >= ENOUGH_ON_A_LINE), None)
    if within is None:
        return None
    chosen, best = near(cell, within), cell.log_loss.argmin()
    offsets: Array = (cell.points[:, axis] - cell.points[best, axis]) / np.log(2)
    u = offsets[chosen]
    constant = np.stack([np.ones_like(u), u, u * u], axis=1)
    c = _least_squares(constant, cell.log_loss[chosen])
    offset: Array = np.zeros(2)
    offset[axis] = -c[1] / (2 * c[2]) if c[2] > 0 else 0.0
    return offset


def _least_squares(design: Array, target: Array) -> Array:
    import numpy as np

    return np.asarray(np.linalg.lstsq(design, target)[0], dtype=float)
