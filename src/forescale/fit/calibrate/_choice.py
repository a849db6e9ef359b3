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


@dataclass(frozen=True, kw_only=True, eq=False)
class RateCurve:
    """Loss gaps (shares) of learning rates that lie `octaves` above the estimate of the best.

    `expected` is the average over where the optimum may be, at the batch of the best choice; `known` what would be lost if
    the estimates were exact and the batch the best.
    """

    octaves: Array
    expected: Array
    known: Array

    def choice(self) -> tuple[float, float]:
        """The lowest point of `expected`: octaves and per cent."""
        i = int(self.expected.argmin())
        return float(self.octaves[i]), 100 * float(self.expected[i])


def best_choice(landscape: Landscape, covariance: Array) -> Choice:
    """The choice of the lowest expected gap where the optimum (ln learning rate, ln batch) is known to `covariance`.

    Off the ridge and along it the gap is a sum, so each part is minimised by itself.
    """
    import numpy as np

    ridge, octaves = landscape.ridge, covariance / OCTAVE**2
    u, lost = _lowest(lambda x: across(landscape, x), _off_ridge(ridge, octaves))
    v, more = _lowest(lambda x: floor(landscape, x), math.sqrt(octaves[1, 1]))
    return Choice(offset=np.array([u + ridge * v, v]) * OCTAVE, gap=lost + more)


def rate_curve(landscape: Landscape, covariance: Array) -> RateCurve:
    """The gaps that learning rates off the estimate lead one to expect, at the batch of the best choice."""
    ridge, octaves = landscape.ridge, covariance / OCTAVE**2
    chosen = best_choice(landscape, covariance)
    at, means = _expected(lambda x: across(landscape, x), _off_ridge(ridge, octaves))
    return RateCurve(
        octaves=at + ridge * chosen.offset[1] / OCTAVE,
        expected=means + (chosen.gap - means.min()),
        known=across(landscape, at + ridge * chosen.offset[1] / OCTAVE),
    )


def _off_ridge(ridge: float, octaves: Array) -> float:
    """One standard deviation, in octaves, of the best rate at a known batch's place on the ridge."""
    return math.sqrt(octaves[0, 0] - 2 * ridge * octaves[0, 1] + ridge**2 * octaves[1, 1])


def _lowest(gap: Callable[[Array], Array], sd: float) -> tuple[float, float]:
    """Where a gap is lowest on average over a Gaussian of that spread around each offset, and its average there."""
    at, means = _expected(gap, sd)
    return float(at[means.argmin()]), float(means.min())


def _expected(gap: Callable[[Array], Array], sd: float) -> tuple[Array, Array]:
    """Offsets, and the average of a gap over a Gaussian of that spread around each."""
    import numpy as np

    z, at = np.linspace(-REACH, REACH, NODES), np.linspace(*SOUGHT)
    weights = np.exp(-z * z / 2)
    return at, np.minimum(gap(at[:, None] + sd * z), LOST) @ (weights / weights.sum())


def best_rate_at(landscape: Landscape, batch: float) -> float:
    """Ln of the factor on the best learning rate at a batch that is exp(`batch`) times the best one: along the ridge."""
    return landscape.ridge * batch
