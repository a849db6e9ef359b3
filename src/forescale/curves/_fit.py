"""Curves -> law: which law and how tight its prior, from the curves' own left-out errors; then the fit and its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from forescale.curves._curve import Curve
from forescale.curves._families import FAMILIES, Family
from forescale.curves._law import CurveLaw
from forescale.curves._path import path_of
from forescale.curves._solve import UNIT, Points, Solution, project, solve
from forescale.errors import ForescaleError, UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DEFAULT = "memory"
TIGHT = (1.0, 4.0)  # of the priors: which, the left-out curves say
PEAK = 0.99  # of the peak: losses before it is reached are not fitted
STARTS = (1 / 6, 1 / 12, 1 / 24, 1 / 48)  # of the longest curve: candidates for where the fit begins
ALIKE = 1.25  # times the misfit from the latest start: an earlier one may have it
AT_MOST = 0.5  # of a curve is left out at its start
BEND = 1e-3  # of Huber's loss on relative residuals, or
NOISES = 2.0  # standard deviations of a curve's own noise, if that is more
DRAWS, NEAR = 100, 6.0  # fits around the best; those are near-equal whose objective is within so many UNIT² of it
SURE = 0.975  # Student's t: 95 %, two-sided


@dataclass(frozen=True, kw_only=True)
class _Tried:
    tightness: float
    errors: tuple[float, ...]  # mean relative error of each curve left out


def fit_curve_law(curves: Sequence[Curve] | Curve, *, law: str = "auto") -> CurveLaw:
    """The law of loss along a schedule that `curves` (of one model and data) show; `CurveLaw.predict` applies it.

    `law` is one of memory, multi-power, momentum, functional, linear, or auto: memory, unless another one's errors on curves
    left out in turn are lower by a paired t-test at 95 %, two-sided. How tight the memory law's priors are (they stand where
    others stop a fit early) is what has the lower left-out error; a single curve has none, and gets memory with tight
    priors. The fit begins after the peak is reached and, where early steps do not follow the law, later (`CurveLaw.start`).
    Raises `ForescaleError` without curves or where too few losses remain.
    """
    if law != "auto" and law not in FAMILIES:
        raise UnknownNameError(f"a curve law is auto or one of {', '.join(FAMILIES)}; got {law!r}.")
    checked = _checked(curves)
    units = max(float(c.step[-1]) for c in checked), max(c.peak for c in checked)
    start = _start(checked, units)
    points = [_points(curve, start, *units) for curve in checked]
    bend = _bend(points)
    names = list(FAMILIES) if law == "auto" else [law]
    tried = {name: _leave_out(FAMILIES[name], points, bend) for name in names}
    chosen, reason = _choose(tried) if law == "auto" else (law, "as asked")
    solution = solve(FAMILIES[chosen], points, bend=bend, tightness=tried[chosen].tightness)
    return CurveLaw(
        name=chosen,
        reason=reason,
        solution=solution,
        near=_near(FAMILIES[chosen], points, bend, solution),
        left_out={name: each.errors for name, each in tried.items()},
        tightness=tried[chosen].tightness,
        start=start * units[0],
        time_unit=units[0],
        rate_unit=units[1],
        curves=tuple(checked),
    )


def _checked(curves: Sequence[Curve] | Curve) -> list[Curve]:
    listed: list[Any] = [curves] if isinstance(curves, Curve) else list(curves)
    if not listed or not all(isinstance(curve, Curve) for curve in listed):
        raise ForescaleError(
            "a curve law needs at least one Curve(step, loss, learning_rate); got none: read a run's log."
        )
    return listed


def _points(curve: Curve, start: float, time_unit: float, rate_unit: float) -> Points:
    """A curve's path, and the losses that are fitted: after the peak is first reached, and after `start`."""
    import numpy as np

    path = path_of(curve.step, curve.learning_rate, time_unit=time_unit, rate_unit=rate_unit)
    first = float(curve.step[int(np.argmax(curve.learning_rate >= PEAK * curve.peak))])
    early = min(start * time_unit, first + AT_MOST * (float(curve.step[-1]) - first))
    measured = np.isfinite(curve.loss) & (curve.step >= max(early, first))
    rows = np.searchsorted(path.time, curve.step[measured] / time_unit * (1 - 1e-12))
    rows = np.minimum(rows, len(path.time) - 1)
    sums = np.bincount(rows, curve.loss[measured], len(path.time))
    counts = np.bincount(rows, minlength=len(path.time))
    kept = np.flatnonzero(counts)
    if len(kept) < 3:
        raise ForescaleError(
            f"a curve needs 3 losses after its peak to be fitted; got {len(kept)} of {curve.name or 'one'}."
        )
    return Points(path=path, rows=kept, loss=sums[kept] / counts[kept])


def _start(curves: Sequence[Curve], units: tuple[float, float]) -> float:
    """The earliest start from which the default law fits nearly as well as from the latest."""
    family, misfits = FAMILIES[DEFAULT], list[float]()
    found: Solution | None = None
    for start in STARTS:
        points = [_points(curve, start, *units) for curve in curves]
        bend = _bend(points)
        found = solve(family, points, bend=bend, start=found.shapes if found else None)
        left = project(family, points, found.shapes, bend)[1]
        misfits.append(sqrt(2 * _huber(left, bend) / len(left)))
        if misfits[-1] > ALIKE * misfits[0]:
            break
    return STARTS[max(i for i, misfit in enumerate(misfits) if misfit <= ALIKE * misfits[0])]


def _bend(points: Sequence[Points]) -> float:
    return max(BEND, NOISES * max(_noise(each) for each in points))


def _noise(points: Points) -> float:
    """A loss's relative noise: 1.4826 medians of the size of second differences, which have sqrt(6) of its deviation."""
    import numpy as np

    if len(points.loss) < 5:
        return 0.0
    return float(np.median(np.abs(np.diff(points.loss, 2) / points.loss[1:-1]))) * 1.4826 / sqrt(6)


def _leave_out(family: Family, points: Sequence[Points], bend: float) -> _Tried:
    """The left-out errors at the tightness that makes them lowest; a law without priors has one."""
    choices = TIGHT if any(shape.spread for shape in family.shapes.values()) else TIGHT[:1]
    if len(points) < 2:
        return _Tried(tightness=choices[-1], errors=())
    tried = [_Tried(tightness=each, errors=_errors(family, points, bend, each)) for each in choices]
    return min(tried, key=lambda each: fmean(each.errors))


def _errors(family: Family, points: Sequence[Points], bend: float, tightness: float) -> tuple[float, ...]:
    import numpy as np

    errors: list[float] = []
    start: Mapping[str, float] | None = None
    for place, left in enumerate(points):
        rest = [*points[:place], *points[place + 1 :]]
        found = solve(family, rest, bend=bend, tightness=tightness, start=start)
        start = found.shapes
        predicted = family.columns(left.path, found.shapes)[left.rows] @ found.amplitudes
        errors.append(float(np.mean(np.abs(predicted / left.loss - 1))))
    return tuple(errors)


def _choose(tried: Mapping[str, _Tried]) -> tuple[str, str]:
    """The default, or the best of those that beat it surely on the curves left out."""
    ours = tried[DEFAULT].errors
    if len(ours) < 2:
        return DEFAULT, "the default: one curve leaves none to choose by"
    sure = [name for name, each in tried.items() if name != DEFAULT and _surely_lower(each.errors, ours)]
    if not sure:
        return DEFAULT, "the default: no other law predicts the curves left out surely better"
    best = min(sure, key=lambda name: fmean(tried[name].errors))
    return best, f"it predicts the curves left out better: {fmean(tried[best].errors):.2%} against {fmean(ours):.2%}"


def _surely_lower(errors: Sequence[float], others: Sequence[float]) -> bool:
    from scipy.special import stdtrit

    gains = [b - a for a, b in zip(errors, others, strict=True)]
    return fmean(gains) > float(stdtrit(len(gains) - 1, SURE)) * stdev(gains) / sqrt(len(gains))


def _near(family: Family, points: Sequence[Points], bend: float, best: Solution) -> tuple[Solution, ...]:
    """Fits whose objective is nearly the best one's: draws of the shapes by its curvature, each with its own amplitudes."""
    import numpy as np

    names = list(family.shapes)
    low = np.array([shape.low for shape in family.shapes.values()])
    high = np.array([shape.high for shape in family.shapes.values()])
    centre = np.array([best.shapes[name] for name in names])
    floor = np.diag(UNIT**2 / (high - low) ** 2)
    root = np.linalg.cholesky(np.linalg.inv(best.curvature + floor) * UNIT**2)
    draws = centre + np.random.default_rng(0).standard_normal((DRAWS, len(names))) @ root.T
    found: list[Solution] = []
    base = _huber(project(family, points, best.shapes, bend)[1], bend)
    for draw in draws[((draws >= low) & (draws <= high)).all(axis=1)]:
        at = dict(zip(names, draw.tolist(), strict=True))
        amplitudes, left = project(family, points, at, bend)
        objective = _huber(left, bend)
        if objective < base + NEAR * UNIT**2:
            found.append(Solution(shapes=at, amplitudes=amplitudes, objective=objective, curvature=best.curvature))
    return tuple(found)


def _huber(left: Array, bend: float) -> float:
    import numpy as np

    size = np.abs(left)
    return float(np.where(size < bend, size**2 / 2, bend * (size - bend / 2)).sum())
