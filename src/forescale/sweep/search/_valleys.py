"""Many valleys at once: where a lab's optimum may be, and how its landscape may differ in shape from the measured one.

A valley is six numbers: its optimum (octaves of learning rate and batch off the start), the logarithm of its steepness, its
tilt (how much steeper above the best rate than below, beyond the measured asymmetry), the logarithm of how steep it is
along the batch, and the slope of its ridge. Rows of a (k, 6) array are k valleys.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._valley import across, floor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.laws import Landscape
    from forescale.sweep.search._start import Start

    Array = NDArray[np.floating[Any]]

SIZE = 6
TAIL = 4.0  # degrees of freedom of the optimum's place: a prior may be octaves off
SHAPE_SD = (0.5, 0.25, 0.4, 0.25)  # steepness, tilt, along the batch, ridge


def gaps(valleys: Array, points: Array, landscape: Landscape) -> Array:
    """(k, n) loss gaps (shares) of points (n, 2), octaves from the start, in each valley."""
    import numpy as np

    rate, batch, steepness, tilt, along, ridge = valleys.T[:, :, None]
    v = points[:, 1] - batch
    u = points[:, 0] - rate - (landscape.ridge + ridge) * v
    return np.exp(steepness) * (
        across(landscape, u) * np.exp(np.copysign(tilt, u)) + floor(landscape, v) * np.exp(along)
    )


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
