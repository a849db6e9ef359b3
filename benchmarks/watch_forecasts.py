"""Coverage and width of the watch's forecasts, from 10 to 90 % of real runs, each source judged by widths learnt from the others.

Two rivals: the loss stays where it is now (the mean of the last 2 % seen), and a power law without the schedule, L0 + A t^-0.5,
through the last two thirds of what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forescale.curves.watch._end import LAST, PARTS, Mixture, forecast
from forescale.curves.watch._rates import USUAL, WARMUP
from forescale.schedules import by_name
from watch_data import Array, Run

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
LEAST = 20  # records that must have been seen
DIVERGED = 7.0  # nats: runs that ended above are left out
FACTORS = np.geomspace(0.15, 6, 75)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A forecast of a run whose end is known, and the factor that its intervals would have needed."""

    source: str
    share: float
    known: bool
    end: float
    mixture: Mixture
    half: float
    ninety: float
    stays: float
    power: float


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """Errors, coverage and widths by share seen, with the schedule known and hidden."""
    cases = [case for run in runs for case in _cases(run)]
    return {
        "cases": len(cases),
        **{
            "schedule known" if known else "schedule hidden": {
                f"{share:g}": _at([case for case in cases if case.known == known and case.share == share])
                for share in SHARES
            }
            for known in (True, False)
        },
    }


def _cases(run: Run) -> list[Case]:
    end = float(np.mean(run.loss[run.step > (1 - LAST) * run.total]))
    if not end < DIVERGED:
        return []
    made: list[Case] = []
    for share in SHARES:
        seen = run.step <= share * run.total
        if seen.sum() >= LEAST:
            options = {True: {"known": (1.0, run.rate)}, False: HIDDEN} if run.rate is not None else {False: HIDDEN}
            made += [_case(run, seen, share, known, end, rates) for known, rates in options.items()]
    return made


def _case(run: Run, seen: Any, share: float, known: bool, end: float, rates: Mapping[str, Any]) -> Case:
    step, loss = run.step[seen], run.loss[seen]
    mixture = forecast(step, loss, run.total, rates)
    below = np.array([mixture.below(end, factor) for factor in FACTORS])
    later = step > step[-1] / 3
    slope, height = np.polyfit(step[later] ** -0.5, loss[later], 1)
    return Case(
        source=run.source,
        share=share,
        known=known,
        end=end,
        mixture=mixture,
        half=_needed(below, 0.25),
        ninety=_needed(below, 0.05),
        stays=float(np.mean(loss[step > (1 - LAST) * step[-1]])),
        power=float(height + slope * run.total**-0.5),
    )


HIDDEN = {
    name: (share, np.array([by_name(name, warmup=WARMUP)((i + 0.5) / PARTS) for i in range(PARTS)]))
    for name, share in USUAL.items()
}


def _needed(below: Array, tail: float) -> float:
    """The least factor with which the interval holds the end; the largest where none does."""
    inside = (below >= tail) & (below <= 1 - tail)
    return float(FACTORS[int(np.argmax(inside))]) if inside.any() else float("inf")


def _learnt(cases: Sequence[Case]) -> tuple[float, float]:
    """Factors that give these cases the coverage, a source's with the weight of the root of their number."""
    counts = {case.source: 0 for case in cases}
    for case in cases:
        counts[case.source] += 1
    weights = np.array([counts[case.source] ** -0.5 for case in cases])
    return tuple(  # type: ignore[return-value]
        _quantile(np.array([getattr(case, name) for case in cases]), weights, share)
        for name, share in (("half", 0.5), ("ninety", 0.9))
    )


def _quantile(values: Array, weights: Array, share: float) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(passed, share)), len(values) - 1)])


def _at(cases: Sequence[Case]) -> dict[str, Any]:
    """One share: what all sources together teach, and each source by the others."""
    half, ninety = _learnt(cases)
    made: dict[str, Any] = {"factors": [round(half, 2), round(ninety, 2)]}
    covered = np.zeros(2)
    for source in dict.fromkeys(case.source for case in cases):
        own = [case for case in cases if case.source == source]
        learnt = _learnt([case for case in cases if case.source != source])
        inside = [(case.half <= learnt[0], case.ninety <= learnt[1]) for case in own]
        covered += np.sum(inside, axis=0)
        made[source] = _source(own, learnt, np.mean(inside, axis=0))
    made["all"] = {
        "cases": len(cases),
        "within_50": round(covered[0] / len(cases), 3),
        "within_90": round(covered[1] / len(cases), 3),
    }
    made["all"] |= _errors(cases)
    return made


def _source(cases: Sequence[Case], learnt: tuple[float, float], inside: Array) -> dict[str, Any]:
    low, high = (np.array([c.mixture.quantile(p, learnt[1]) for c in cases]) for p in (0.05, 0.95))
    ends = np.array([case.end for case in cases])
    told = {"cases": len(cases), "within_50": round(float(inside[0]), 3), "within_90": round(float(inside[1]), 3)}
    return told | {"width_90": round(float(np.median((high - low) / ends)), 4), **_errors(cases)}


def _errors(cases: Sequence[Case]) -> dict[str, float]:
    """Median relative errors of the watch and of its rivals."""
    ends = np.array([case.end for case in cases])
    said = {
        "error": [case.mixture.quantile(0.5) for case in cases],
        "error_stays": [case.stays for case in cases],
        "error_power_law": [case.power for case in cases],
    }
    return {name: round(float(np.median(np.abs(np.array(values) / ends - 1))), 5) for name, values in said.items()}
