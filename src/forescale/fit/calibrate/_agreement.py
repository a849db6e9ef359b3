"""Whether a lab's runs agree with the prior, and by how much it must be widened where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._belief import SIZE, Belief, gaussian, information, product
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """How far the runs are from the prior: the squared distance in as many directions, and its chance.

    `prior` is what calibration starts from: the prior as it was, or `widened` times its variance in `widened_in`.
    """

    prior: Belief
    squared: float
    directions: int
    chance: float
    widened: float
    widened_in: str = ""


def agreement(prior: Belief, cells: Sequence[Evidence]) -> Agreement:
    """Compare what the runs say by themselves with the prior, in every direction that they say something in.

    A factor of precision P has a shift that lies P + P V P (covariance) around P times the prior's mean, V the prior's
    covariance. Where that distance is unlikely, V is widened until it is tolerable: in the two constants, since labs differ
    in those; in the exponents too where that does not do.
    """
    import numpy as np
    from scipy.special import gammaincc

    mean, covariance = prior.mean, prior.covariance
    loose = gaussian(mean, LOOSE * covariance)
    says = product(loose, information(loose, cells)).minus(loose)
    root = np.linalg.cholesky(covariance)
    precisions, axes = np.linalg.eigh(root.T @ says.precision @ root)
    told = root @ axes[:, precisions > TOLD]
    apart = told.T @ (says.shift - says.precision @ mean)

    def squared(widening: Array) -> float:
        spread = told.T @ (says.precision + says.precision @ (covariance * widening) @ says.precision) @ told
        return float(apart @ np.linalg.solve(spread, apart))

    def chance(widening: Array) -> float:
        return (
            float(gammaincc(len(apart) / 2, squared(widening) / 2)) if len(apart) else 1.0
        )  # chi-squared's upper tail

    as_it_is = np.ones_like(covariance)
    factor, where, widening = _widening(chance, as_it_is)
    return Agreement(
        prior=prior if factor == 1 else gaussian(mean, covariance * widening),
        squared=squared(as_it_is),
        directions=len(apart),
        chance=chance(as_it_is),
        widened=factor,
        widened_in=where,
    )


def _widening(chance: Callable[[Array], float], as_it_is: Array) -> tuple[float, str, Array]:
    """The factor, in which coefficients, and the matrix that the covariance is multiplied with."""
    import numpy as np

    if chance(as_it_is) > UNLIKELY:
        return 1.0, "", as_it_is
    constants = np.zeros(len(as_it_is))
    constants[[0, SIZE]] = 1.0
    for where, which in (("the constants", constants), ("all coefficients", np.ones_like(constants))):
        factor = _tolerable(lambda w, which=which: chance(_scaled(w, which)))
        if factor < MOST:
            return factor, where, _scaled(factor, which)
    return MOST, "all coefficients", _scaled(MOST, np.ones_like(constants))


def _scaled(factor: float, which: Array) -> Array:
    import numpy as np

    sd = np.where(which > 0, math.sqrt(factor), 1.0)
    return np.outer(sd, sd)


def _tolerable(chance: Callable[[float], float]) -> float:
    """The factor at which the runs are tolerably likely; `MOST` where none is."""
    from scipy.optimize import brentq

    if chance(MOST) < TOLERABLE:
        return MOST
    found: Any = brentq(lambda log: chance(math.exp(log)) - TOLERABLE, 0.0, math.log(MOST))
    return math.exp(found)
