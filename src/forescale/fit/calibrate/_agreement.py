"""Whether a lab's runs agree with the prior, and by how much it must be widened where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._belief import Belief, gaussian, information, product
from forescale.fit.calibrate._evidence import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

UNLIKELY = 0.01  # a chance of the runs under the prior below which it is widened
TOLERABLE = 0.1  # the chance that it is widened to
LOOSE = 25.0  # times the prior's variance: how the runs are read when they are compared with it
MOST = 1e4  # times that the variance is widened
TOLD = 0.2  # precision, in units of the prior's, from which the runs say something in a direction


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the runs are from the prior: the squared distance, in as many directions, its chance, the widening."""

    squared: float
    directions: int
    chance: float
    widened: float


def agreement(prior: Belief, cells: Sequence[Evidence]) -> Agreement:
    """Compare what the runs say by themselves with the prior, in every direction that they say something in.

    In coordinates where the prior has variance 1, information of precision p lies p (1 + p) apart on average (the variance
    of the factor's shift). Where that distance is unlikely, the variance is multiplied until it is tolerable.
    """
    import numpy as np
    from scipy.special import gammaincc

    loose = gaussian(prior.mean, LOOSE * prior.covariance)
    says = product(loose, information(loose, cells)).minus(loose)
    L = np.linalg.cholesky(prior.covariance)
    precisions, axes = np.linalg.eigh(L.T @ says.precision @ L)
    told = precisions > TOLD
    if not told.any():
        return Agreement(squared=0.0, directions=0, chance=1.0, widened=1.0)
    apart = (axes.T @ L.T @ (says.shift - says.precision @ prior.mean))[told]
    p = precisions[told]

    def chance(widened: float) -> float:
        squared: float = (apart**2 / (p + widened * p * p)).sum()
        return float(gammaincc(len(p) / 2, squared / 2))  # the upper tail of chi-squared

    return Agreement(
        squared=float((apart**2 / (p + p * p)).sum()),
        directions=len(p),
        chance=chance(1.0),
        widened=1.0 if chance(1.0) > UNLIKELY else _tolerable(chance),
    )


def _tolerable(chance: Callable[[float], float]) -> float:
    """The widening at which the runs are tolerably likely."""
    from scipy.optimize import brentq

    if chance(MOST) < TOLERABLE:
        return MOST
    found: Any = brentq(lambda log: chance(math.exp(log)) - TOLERABLE, 0.0, math.log(MOST))
    return math.exp(found)
