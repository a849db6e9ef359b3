"""What is known of a workload's optimum before its first run: where it is, how well that is known, and the valley's shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Calibration, calibrate, published_prior
from forescale.fit.calibrate._calibrate import optimum_of
from forescale.fit.calibrate._valley import OCTAVE, landscape_of
from forescale.laws import Law, variables
from forescale.quantities import humanize
from forescale.sweep.search._valleys import Shape, shape_of
from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]
    Prior = Law | Calibration | Runs

UNSTATED = 1.0  # octaves (sd) that a law which states no uncertainty is from a lab's optimum (facts: hp-laws.md 2.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The optimum's (ln learning rate, ln batch) as mean and covariance in octaves, and the landscape around it."""

    mean: Array  # (2,), natural logarithms
    covariance: Array  # (2, 2), octaves squared
    shape: Shape
    source: str

    def octaves(self, points: Array) -> Array:
        """(…, 2) logarithms to octaves from the mean."""
        return (points - self.mean) / OCTAVE

    def logs(self, octaves: Array) -> Array:
        """Back."""
        return self.mean + octaves * OCTAVE


def start_of(workload: Workload, prior: Prior | None) -> Start:
    """What a prior says of a workload: None is the published one, runs are calibrated on first."""
    from forescale.runs import Runs

    given: Any = prior
    if not isinstance(given, Law | Calibration | Runs | None):
        raise ForescaleError(
            f"a search's prior is a Law, a Calibration, Runs or None (the published prior); got {type(given).__name__}."
        )
    if isinstance(prior, Law):
        return _of_law(workload, prior)
    if isinstance(prior, Runs):
        prior = calibrate(prior, target=workload, scored=False)
    belief, landscape = (published_prior().belief, None) if prior is None else (prior.belief, prior.law.landscape)
    mean, covariance = optimum_of(belief, workload)
    return Start(
        mean=mean,
        covariance=covariance / OCTAVE**2,
        shape=shape_of(landscape or landscape_of(workload.is_moe)),
        source="the published prior" if prior is None else prior.law.title,
    )


def _of_law(workload: Workload, law: Law) -> Start:
    """A law's optimum; what the law does not predict is the published prior's."""
    import numpy as np

    mean, covariance = optimum_of(published_prior().belief, workload)
    covariance = covariance / OCTAVE**2
    x = variables(workload, law)
    predicted = [q for q in ("batch_tokens", "learning_rate") if q in law.predicts]
    if not predicted:
        raise ForescaleError(f"law {law.name} predicts neither learning_rate nor batch_tokens: name another prior.")
    for quantity in predicted:
        i = ("learning_rate", "batch_tokens").index(quantity)
        x = {"batch_tokens": math.exp(mean[1]), **x}
        mean[i] = math.log(law.predict(quantity, **x) / law.formula(quantity).caution)
        covariance[i, :] = covariance[:, i] = 0.0
        covariance[i, i] = _octaves(law, quantity, x) ** 2
    return Start(
        mean=np.asarray(mean),
        covariance=covariance,
        shape=shape_of(law.landscape or landscape_of(workload.is_moe)),
        source=f"{law.title} at N = {humanize(workload.params)}, D = {humanize(workload.tokens)}",
    )


def _octaves(law: Law, quantity: str, x: dict[str, Any]) -> float:
    """One standard deviation: the fit's own, and the law's error when it is moved to another lab."""
    own, moved = law.formula(quantity).log_sd(x), law.transfer_errors.get(quantity)
    return math.hypot((own or 0.0) / OCTAVE, UNSTATED if moved is None else moved.octaves)
