"""Schedules in a law: the best non-increasing one, and candidates ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from forescale.curves._families import FAMILIES
from forescale.curves._law import CurveLaw
from forescale.curves._path import path_of, piecewise
from forescale.errors import ForescaleError
from forescale.quantities import positive
from forescale.schedules import constant, cosine, linear, step, wsd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.schedules import Schedule

    Array = NDArray[np.float64]

PIECES = 32  # straight pieces of the best schedule after its warmup, shorter towards the end
COMPARED = ("linear", "cosine", "wsd 10%", "wsd 20%", "wsd 40%")
POINTS = 400  # at which a candidate is read
DEEP = 8.0  # the most that a piece may lower ln(rate - floor)
SMOOTH = 1e-4  # nats for falls that change by 1 from a piece to the next: stairs are no better, and harder to run
NUDGE = 1e-4
ITERATIONS = 120
STARTS = 2  # the best of the usual schedules


@dataclass(frozen=True, kw_only=True, eq=False)
class BestSchedule:
    """The non-increasing schedule with the lowest final loss that the law finds, and what the usual ones get there.

    `step` and `learning_rate` are its corners (straight lines between); `loss` is in nats per token; `compared` has the
    usual schedules' final losses, to the same floor; `beyond` is how far it lies outside the fitted curves, as factors.
    """

    step: Array
    learning_rate: Array
    loss: float
    compared: Mapping[str, float]
    beyond: Mapping[str, float]

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """The corners as (progress, factor on the peak), for `forescale.schedules.points`."""
        total, peak = float(self.step[-1]), float(self.learning_rate.max())
        pairs = zip((self.step / total).tolist(), (self.learning_rate / peak).tolist(), strict=True)
        return ((0.0, 0.0), *((at, min(factor, 1.0)) for at, factor in pairs if at > 0))


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A candidate schedule's final loss with an 80 % interval, and how far it lies outside the fitted curves."""

    name: str
    loss: float
    low: float
    high: float
    beyond: Mapping[str, float]


def usual_schedules(warmup: float, final: float) -> dict[str, Schedule]:
    """The schedules that people use, by name; `warmup` a share of the run, `final` a factor on the peak."""
    return {
        "linear": linear(warmup, final),
        "cosine": cosine(warmup, final),
        "wsd 10%": wsd(warmup, 0.1, final=final),
        "wsd 20%": wsd(warmup, 0.2, final=final),
        "wsd 40%": wsd(warmup, 0.4, final=final),
        "step": step(warmup),
        "constant": constant(warmup),
    }


def rank_schedules(
    law: CurveLaw, schedules: Mapping[str, Schedule], total: float, peak: float | None = None
) -> list[Ranked]:
    """The schedules by their final loss in a law, the lowest first, for a run of `total` steps at `peak`.

    `peak` is by default that of the fitted curves. Differences below the law's own error are not known: see `low`, `high`.
    """
    ranked: list[Ranked] = []
    for name, schedule in schedules.items():
        steps, rates = corners(schedule, total, law.rate_unit if peak is None else peak)
        low, high = law.interval(steps, rates)
        loss = law.final_loss(steps, rates)
        ranked.append(
            Ranked(name=name, loss=loss, low=float(low[-1]), high=float(high[-1]), beyond=law.beyond(steps, rates))
        )
    return sorted(ranked, key=lambda each: each.loss)


def corners(schedule: Schedule, total: float, peak: float) -> tuple[Array, Array]:
    """A schedule's steps and learning rates at 400 places of a run, from the first step on."""
    import numpy as np

    total, peak = positive(total, "total"), positive(peak, "peak")
    progress = np.linspace(0.0, 1.0, POINTS + 1)[1:]
    rates = peak * np.array([schedule(each) for each in progress.tolist()])
    return progress * total, rates


def best_schedule(law: CurveLaw, total: float, peak: float, floor: float, warmup: float | None = None) -> BestSchedule:
    """The non-increasing schedule from `peak` to at least `floor` with the lowest final loss in the law.

    `total` and `warmup` in steps (by default the warmup of the fitted curves, at most a tenth of the run); `floor` at least
    0. Searched from linear, cosine and WSD starts over straight pieces, so never worse than these. Raises `ForescaleError`
    for a floor that is not below the peak.
    """
    import numpy as np

    total, peak = positive(total, "total"), positive(peak, "peak")
    if not (isfinite(floor) and 0 <= floor < peak):
        raise ForescaleError(f"floor must be at least 0 and below the peak of {peak:g}; got {floor:g}.")
    risen = _warmup(law, total) if warmup is None else float(warmup)
    if not 0 <= risen < total:
        raise ForescaleError(f"warmup must be at least 0 and shorter than the run of {total:g} steps; got {risen:g}.")
    spans = np.linspace(0.0, 1.0, PIECES + 1)
    steps = risen + (total - risen) * (1 - (1 - spans) ** 1.5)
    steps = steps[1:] if steps[0] == 0 else steps
    usual = usual_schedules(risen / total, floor / peak)
    compared = {name: law.final_loss(*corners(usual[name], total, peak)) for name in COMPARED}
    starts = sorted(COMPARED, key=lambda name: compared[name])[:STARTS]
    found = [_descend(law, steps, peak, floor, usual[name]) for name in starts]
    fine = [(steps, rates) for rates in found] + [corners(usual[starts[0]], total, peak)]
    losses = [law.final_loss(*_read(at, rates)) for at, rates in fine]
    at, rates = fine[losses.index(min(losses))]
    return BestSchedule(
        step=at, learning_rate=rates, loss=min(losses), compared=compared, beyond=law.beyond(*_read(at, rates))
    )


def _warmup(law: CurveLaw, total: float) -> float:
    """The median step at which the curves reach their peak, at most a tenth of the run."""
    import numpy as np

    reached = [float(c.step[int(np.argmax(c.learning_rate >= 0.99 * c.peak))]) for c in law.curves]
    return min(float(np.median(reached)), total / 10)


def _read(steps: Array, rates: Array) -> tuple[Array, Array]:
    """Corners at 400 places from the first one on."""
    import numpy as np

    at: Array = np.unique(np.concatenate([steps, np.linspace(float(steps[0]), float(steps[-1]), POINTS)]))
    return at, np.interp(at, steps, rates)


def _descend(law: CurveLaw, steps: Array, peak: float, floor: float, usual: Schedule) -> Array:
    """The rates with the lowest final loss, from a usual schedule on: ln(rate - floor) falls by a free amount in each piece."""
    import numpy as np
    from scipy.optimize import minimize

    path = path_of(steps, np.full_like(steps, peak), time_unit=law.time_unit, rate_unit=law.rate_unit)
    family, solution = FAMILIES[law.name], law.solution

    def rates(falls: Array) -> Array:
        return floor + (peak - floor) * np.exp(-np.append(0.0, np.cumsum(falls)))

    def loss(falls: Array) -> float:
        columns = family.columns(piecewise(path, rates(falls) / law.rate_unit), solution.shapes)
        return float(columns[-1] @ solution.amplitudes) + SMOOTH * float(np.square(np.diff(falls)).sum())

    def slope(falls: Array) -> tuple[float, Array]:
        base = loss(falls)
        return base, np.array([(loss(falls + NUDGE * row) - base) / NUDGE for row in np.eye(len(falls))])

    factors = np.array([usual(min(each, 1.0)) for each in (steps / steps[-1]).tolist()])
    above = np.log(np.maximum((factors - floor / peak) / (1 - floor / peak), np.exp(-DEEP)))
    start = np.clip(-np.diff(above), 0.0, DEEP)
    found: Any = minimize(
        slope, start, jac=True, method="L-BFGS-B", bounds=[(0.0, DEEP)] * len(start), options={"maxiter": ITERATIONS}
    )
    return rates(found.x)
