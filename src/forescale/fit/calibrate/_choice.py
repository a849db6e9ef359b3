"""Choosing under uncertainty: the learning rate and batch with the lowest expected loss gap.

The valley is steeper above the best learning rate than below, so the less is known, the lower the best choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._valley import OCTAVE, across, floor
from forescale.laws import Landscape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SOUGHT = (-4.0, 2.0, 121)  # octaves from the estimate within which the choice is sought
NODES = 61  # of a trapezoid rule over ± REACH standard deviations
REACH = 3.5
LOST = 0.05  # what a diverged run counts for: it is seen early and started again


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A choice as (ln learning rate, ln batch) off the estimate of the optimum, and its expected loss gap (a share)."""

    offset: Array
    gap: float


def best_choice(landscape: Landscape, covariance: Array) -> Choice:
    """The choice of the lowest expected gap where the optimum (ln learning rate, ln batch) is known to `covariance`.

    Off the ridge and along it the gap is a sum, so each part is minimised by itself.
    """
    import numpy as np

    ridge, octaves = landscape.ridge, covariance / OCTAVE**2
    off_ridge = octaves[0, 0] - 2 * ridge * octaves[0, 1] + ridge**2 * octaves[1, 1]
    u, lost = _lowest(lambda x: across(landscape, x), math.sqrt(off_ridge))
    v, more = _lowest(lambda x: floor(landscape, x), math.sqrt(octaves[1, 1]))
    return Choice(offset=np.array([u + ridge * v, v]) * OCTAVE, gap=lost + more)


def _lowest(gap: Callable[[Array], Array], sd: float) -> tuple[float, float]:
    """Where a gap is lowest on average over a Gaussian of that spread around each offset, and its average there."""
    import numpy as np

    z, at = np.linspace(-REACH, REACH, NODES), np.linspace(*SOUGHT)
    weights = np.exp(-z * z / 2)
    means = np.minimum(gap(at[:, None] + sd * z), LOST) @ (weights / weights.sum())
    return float(at[means.argmin()]), float(means.min())


def best_rate_at(landscape: Landscape, batch: float) -> float:
    """Ln of the factor on the best learning rate at a batch that is exp(`batch`) times the best one: along the ridge."""
    return landscape.ridge * batch
