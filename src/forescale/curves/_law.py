"""A fitted law of loss along a schedule, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING

from forescale.curves._curve import Curve, checked_schedule
from forescale.curves._families import FAMILIES
from forescale.curves._path import Path, path_of
from forescale.curves._solve import Solution
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from forescale.curves._best import BestSchedule

    Array = NDArray[np.float64]

SHARE = 0.8  # of outcomes that an interval holds
ENDS = 1.4  # ends err more than curves: with it 80 % of 1,727 ends of Hägele et al.'s runs are held (bench_curves.py)
POWER = 0.3  # of the straight line's axis, steps^-0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveLaw:
    """Loss along any schedule of one model and data, fitted by `fit_curve_law`.

    `name` is the law and `reason` why it was chosen; `left_out` has each law's mean relative errors on the curves, each left
    out in turn; `near` are the fits that are nearly as good, whose spread becomes the interval. `start` is the step from
    which curves were fitted. `time_unit` (steps) and
    `rate_unit` (learning rate) are those of the shapes in `solution`: the longest curve and the highest peak.
    """

    name: str
    reason: str
    solution: Solution
    near: tuple[Solution, ...] = field(repr=False)
    left_out: Mapping[str, tuple[float, ...]]
    tightness: float
    start: float
    time_unit: float
    rate_unit: float
    curves: tuple[Curve, ...] = field(repr=False)

    def predict(self, step: ArrayLike, learning_rate: ArrayLike) -> Array:
        """The loss (nats per token) at each step of a schedule: two sequences of one length, sorted by step.

        Where the first step is later than 1, the rate is taken to have risen in a straight line from 0 up to there. Before
        `start`, and in the first steps of a run above all, the law says nothing of use: it grows without bound.
        Raises `ForescaleError` for steps that do not rise, and rates that are negative or not finite.
        """
        steps, path = self._path(step, learning_rate)
        return self._losses(steps, path, self.solution)

    def interval(self, step: ArrayLike, learning_rate: ArrayLike, share: float = SHARE) -> tuple[Array, Array]:
        """Low and high ends of an interval that holds `share` of outcomes, at each step.

        Its variance is that of the near-equal fits' predictions plus the mean square of the left-out errors; with n curves
        left out its width is that of Student's t with n - 1 degrees of freedom (without any, the normal one: too narrow).
        Laws err more at a run's end than along it, by `ENDS`: the interval is right there, and wide before.
        """
        import numpy as np

        if not 0 < share < 1:
            raise ForescaleError(f"share must lie between 0 and 1; got {share:g}.")
        steps, path = self._path(step, learning_rate)
        value = self._losses(steps, path, self.solution)
        spread = [self._losses(steps, path, each) - value for each in self.near]
        variance = np.mean(np.square(spread), axis=0) if spread else np.zeros_like(value)
        deviation = ENDS * np.sqrt(variance + (self.left_out_error * value) ** 2)
        width = _quantile(0.5 + share / 2, len(self.left_out[self.name])) * deviation
        return value - width, value + width

    def final_loss(self, step: ArrayLike, learning_rate: ArrayLike) -> float:
        """The loss at the last step of a schedule."""
        return float(self.predict(step, learning_rate)[-1])

    def best_schedule(self, total: float, peak: float, floor: float, *, warmup: float | None = None) -> BestSchedule:
        """The non-increasing schedule with the lowest final loss in the law: `forescale.curves.best_schedule`."""
        from forescale.curves._best import best_schedule

        return best_schedule(self, total, peak, floor, warmup)

    @property
    def left_out_error(self) -> float:
        """The root mean square over curves of their mean relative error when left out; 0 where no curve could be."""
        import numpy as np

        errors = self.left_out.get(self.name, ())
        return float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0

    def beyond(self, step: ArrayLike, learning_rate: ArrayLike) -> dict[str, float]:
        """How far a schedule lies outside the fitted curves, as factors: none inside.

        `horizon`: steps over those of the longest curve; `peak`: the peak over the highest; `floor`: the lowest rate after
        any warmup of a fitted curve over this schedule's.
        """
        steps, rates = checked_schedule(step, learning_rate, "a schedule")
        lowest = min(_lowest(curve.learning_rate) for curve in self.curves)
        factors = {
            "horizon": float(steps[-1]) / self.time_unit,
            "peak": float(rates.max()) / self.rate_unit,
            "floor": lowest / max(_lowest(rates), 1e-6 * self.rate_unit),
        }
        return {name: factor for name, factor in factors.items() if factor > 1 + 1e-6}

    def baselines(self, steps: float) -> dict[str, float]:
        """What one would say of a run of `steps` steps without a law; a name is absent where its curves are.

        `best short run`: the lowest final loss of a curve no longer than it. `straight line`: through the final losses of
        the curves over steps^-0.3, of two or more lengths.
        """
        import numpy as np

        ends = np.array([curve.step[-1] for curve in self.curves])
        losses = np.array([curve.final_loss for curve in self.curves])
        said: dict[str, float] = {}
        if (ends <= steps * 1.001).any():
            said["best short run"] = float(losses[ends <= steps * 1.001].min())
        if np.ptp(ends) > 0.02 * ends.max():
            slope, level = np.polyfit(ends**-POWER, losses, 1)
            said["straight line"] = float(level + slope * steps**-POWER)
        return said

    def _path(self, step: ArrayLike, learning_rate: ArrayLike) -> tuple[Array, Path]:
        steps, rates = checked_schedule(step, learning_rate, "a schedule")
        return steps, path_of(steps, rates, time_unit=self.time_unit, rate_unit=self.rate_unit)

    def _losses(self, steps: Array, path: Path, solution: Solution) -> Array:
        import numpy as np

        knots = FAMILIES[self.name].columns(path, solution.shapes) @ solution.amplitudes
        return knots if len(knots) == len(steps) else np.interp(steps / self.time_unit, path.time, knots)


def _quantile(share: float, curves: int) -> float:
    """Of Student's t with one degree of freedom less than curves, of the normal distribution for fewer than two."""
    from scipy.special import stdtrit

    return float(stdtrit(curves - 1, share)) if curves > 1 else NormalDist().inv_cdf(share)


def _lowest(rates: Array) -> float:
    """The lowest rate from the first peak on."""
    return float(rates[int(rates.argmax()) :].min())
