"""Many valleys at once: where a lab's optimum may be, and how its landscape may differ in shape from the measured one.

A valley is seven numbers: its optimum (octaves of learning rate and batch off the start), the logarithm of its steepness, its
tilt (how much steeper above the best rate than below, beyond the measured asymmetry), the logarithm of how steep it is
along the batch, the slope of its ridge beyond the measured one, and the logarithm of a power that its sides are raised to,
one octave's gap kept. Rows of a (k, 7) array are k valleys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._valley import across, floor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.laws import Landscape
    from forescale.sweep.search._start import Start

    Array = NDArray[np.floating[Any]]

SIZE = 7
ENDS, PER_OCTAVE = 16, 32  # of the tables: octaves on either side, entries in each
FLAT = 1e-8  # added to gaps, so that they have a logarithm
TAIL = 4.0  # degrees of freedom of the optimum's place: a prior may be octaves off
SHAPE_SD = (0.5, 0.4, 0.4, 0.25, 0.25)  # steepness, tilt, along the batch, ridge, power


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """A landscape as two tables over -`ENDS` to `ENDS` octaves: many thousand gaps are read for each ask."""

    log_across: Array
    log_octave: Array  # ln gap one octave below and above the best rate
    floor: Array
    ridge: float


def shape_of(landscape: Landscape) -> Shape:
    """The tables of a landscape."""
    import numpy as np

    octaves = np.arange(-ENDS * PER_OCTAVE, ENDS * PER_OCTAVE + 1) / PER_OCTAVE
    return Shape(
        log_across=np.log(across(landscape, octaves) + FLAT),
        log_octave=np.log(across(landscape, np.array([-1.0, 1.0]))),
        floor=floor(landscape, octaves),
        ridge=landscape.ridge,
    )


def gaps(valleys: Array, points: Array, shape: Shape) -> Array:
    """(k, n) loss gaps (shares) of points (n, 2), octaves from the start, in each valley; of points (k, n, 2) each in its own."""
    import numpy as np

    rate, batch, steepness, tilt, along, ridge, power = valleys.T[:, :, None]
    v = points[..., 1] - batch
    u = points[..., 0] - rate - (shape.ridge + ridge) * v
    octave = shape.log_octave[(u > 0).astype(np.int64)]
    across_it = np.exp(
        steepness + np.copysign(tilt, u) + octave + np.exp(power) * (_read(shape.log_across, u) - octave)
    )
    found: Array = across_it + _read(shape.floor, v) * np.exp(steepness + along)
    return found


def optima_in(valleys: Array, ends: Array, shape: Shape) -> Array:
    """(k, 2) each valley's best point in a box (2, 2): its batch moved into the box, its rate along the ridge after it."""
    import numpy as np

    batch = np.clip(valleys[:, 1], ends[0, 1], ends[1, 1])
    rate = valleys[:, 0] + (shape.ridge + valleys[:, 5]) * (batch - valleys[:, 1])
    return np.column_stack([np.clip(rate, ends[0, 0], ends[1, 0]), batch])


def _read(table: Array, octaves: Array) -> Array:
    """A table's values, linear between its entries; at its end beyond."""
    import numpy as np

    at: Array = np.clip((octaves + ENDS) * PER_OCTAVE, 0, len(table) - 1.001)
    i: NDArray[np.int64] = at.astype(np.int64)
    found: Array = table[i] + (at - i) * (table[i + 1] - table[i])
    return found


def draw(start: Start, count: int, rng: np.random.Generator) -> Array:
    """Valleys as they are before any run: Student's t for the optimum, Gaussians for the shape."""
    import numpy as np

    at = rng.standard_normal((count, 2)) / np.sqrt(rng.chisquare(TAIL, (count, 1)) / TAIL)
    shape = rng.standard_normal((count, SIZE - 2)) * SHAPE_SD
    return np.hstack([at @ np.linalg.cholesky(start.covariance).T, shape])


def log_prior(valleys: Array, start: Start) -> Array:
    """(k,) log density of `draw`."""
    import numpy as np

    at, shape = valleys[:, :2], valleys[:, 2:] / SHAPE_SD
    place = student(at, np.zeros(2), start.covariance, TAIL)
    return place - 0.5 * (shape**2).sum(1) - math.log(math.prod(SHAPE_SD)) - (SIZE - 2) / 2 * math.log(2 * math.pi)


def student(x: Array, mean: Array, scale: Array, freedom: float) -> Array:
    """(k,) log density of a multivariate Student's t."""
    import numpy as np

    size = len(mean)
    root = np.linalg.cholesky(scale)
    squared = (np.linalg.solve(root, (x - mean).T) ** 2).sum(0)
    constant = math.lgamma((freedom + size) / 2) - math.lgamma(freedom / 2) - size / 2 * math.log(freedom * math.pi)
    return constant - np.log(np.diag(root)).sum() - (freedom + size) / 2 * np.log1p(squared / freedom)
