"""Variable projection: amplitudes by robust linear least squares inside a search over the shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from forescale.curves._families import Family

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves._path import Path

    Array = NDArray[np.float64]

ROUNDS = 2  # of reweighting
FITS = 60  # evaluations of a search, besides those of its derivatives
UNIT = 1e-3  # relative residual that weighs as much as one standard deviation of a prior
SMALLEST = 1e-9
RIDGE = 1e-13  # of scaled columns: two equal ones, as of constant rates, share their amplitude


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """What a law is fitted to: a curve's path, the knots with a loss that counts, and these losses."""

    path: Path
    rows: NDArray[np.intp]
    loss: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Shapes by name, amplitudes in the order of the columns, the objective (Huber's losses, summed) and its curvature."""

    shapes: Mapping[str, float]
    amplitudes: Array
    objective: float
    curvature: Array = field(repr=False)  # J'J of the residuals by the shapes, priors included


def solve(
    family: Family,
    points: Sequence[Points],
    *,
    bend: float,
    tightness: float = 1.0,
    start: Mapping[str, float] | None = None,
) -> Solution:
    """The best shapes and amplitudes by Huber's loss (linear beyond `bend`) of the relative residuals, plus the priors."""
    import numpy as np
    from scipy.optimize import least_squares

    names, shapes = list(family.shapes), list(family.shapes.values())
    low, high = np.array([s.low for s in shapes]), np.array([s.high for s in shapes])
    first = np.array([(start or {}).get(name, shape.start) for name, shape in family.shapes.items()])
    weights = np.array([tightness * UNIT / s.spread if s.spread else 0.0 for s in shapes])
    centre = np.array([s.start for s in shapes])

    def residuals(values: Array) -> Array:
        _, left = project(family, points, dict(zip(names, values.tolist(), strict=True)), bend)
        return np.concatenate([left, weights * (values - centre)])

    margin = 1e-6 * (high - low)
    found: Any = least_squares(
        residuals, np.clip(first, low + margin, high - margin), bounds=(low, high), loss="huber", f_scale=bend,
        x_scale=np.array([s.spread or 0.2 for s in shapes]), ftol=1e-5, xtol=1e-4, gtol=1e-12, max_nfev=FITS,
    )  # fmt: skip
    at = dict(zip(names, found.x.tolist(), strict=True))
    amplitudes = project(family, points, at, bend)[0]
    return Solution(shapes=at, amplitudes=amplitudes, objective=float(found.cost), curvature=found.jac.T @ found.jac)


def project(family: Family, points: Sequence[Points], at: Mapping[str, float], bend: float) -> tuple[Array, Array]:
    """The amplitudes that are best at given shapes, and the relative residuals."""
    import numpy as np

    columns = np.concatenate([family.columns(each.path, at)[each.rows] for each in points])
    loss = np.concatenate([each.loss for each in points])
    return reweighted(columns / loss[:, None], bend)


def reweighted(relative: Array, bend: float) -> tuple[Array, Array]:
    """The amplitudes that bring `relative` @ amplitudes nearest to 1 in Huber's loss, and the residuals."""
    import numpy as np

    amplitudes, left = _weighted(relative, np.ones(len(relative)))
    for _ in range(ROUNDS):
        weights = np.minimum(1.0, bend / np.maximum(np.abs(left), SMALLEST))
        amplitudes, left = _weighted(relative, weights)
    return amplitudes, left


def _weighted(relative: Array, weights: Array) -> tuple[Array, Array]:
    """Least squares of `relative` @ amplitudes = 1 with amplitudes that are not negative."""
    import numpy as np

    free = np.ones(relative.shape[1], bool)
    amplitudes = np.zeros(relative.shape[1])
    while free.any():
        some = relative[:, free]
        scale = np.sqrt((some**2).mean(axis=0))
        some = some / np.maximum(scale, SMALLEST)
        normal = some.T @ (some * weights[:, None]) + RIDGE * len(weights) * np.eye(some.shape[1])
        amplitudes[:] = 0.0
        amplitudes[free] = np.linalg.solve(normal, some.T @ weights) / np.maximum(scale, SMALLEST)
        if (amplitudes >= 0).all():
            break
        free &= amplitudes > 0
    return amplitudes, relative @ amplitudes - 1
