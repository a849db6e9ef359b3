"""Coverage and width of the watch's forecasts, from 3 to 90 % of real runs, each source judged by widths learnt from the others.

Two rivals: the loss stays where it is now (the mean of the last 2 % seen), and a power law without the schedule, L0 + A t^-0.5,
through the last two thirds of what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forescale.curves.watch._end import LAST, PARTS, Mixture, forecast
from forescale.curves.watch._log import FEWEST
from forescale.curves.watch._rates import USUAL, WARMUP
from forescale.schedules import by_name
from watch_data import Array, Run

SHARES = (0.03, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
DIVERGED = 7.0  # nats: runs that ended above are left out
FACTORS = np.geomspace(0.3, 8, 60)
HALF, NINETY = 0.5, 1.0  # the least factors


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
        if seen.sum() >= FEWEST:
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
    """Factors that give these cases the coverage: a source's with the weight of the root of their number.

    For 90 % also with all sources of one weight, and the larger of the two counts.
    """
    counts = Counter(case.source for case in cases)
    half, ninety = (np.array([getattr(case, name) for case in cases]) for name in ("half", "ninety"))
    root, one = (np.array([counts[case.source] ** -power for case in cases]) for power in (0.5, 1.0))
    return (
        max(_quantile(half, root, 0.5), HALF),
        max(_quantile(ninety, root, 0.9), _quantile(ninety, one, 0.9), NINETY),
    )


def _quantile(values: Array, weights: Array, share: float) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(passed, share)), len(values) - 1)])


def _at(cases: Sequence[Case]) -> dict[str, Any]:
    """One share: what all sources together teach, and each source by the others."""
    half, ninety = _learnt(cases)
    made: dict[str, Any] = {"factors": [round(half, 2), round(ninety, 2)]}
    rows: list[tuple[bool, bool, float, float]] = []
    for source in dict.fromkeys(case.source for case in cases):
        own = [case for case in cases if case.source == source]
        learnt = _learnt([case for case in cases if case.source != source])
        mine = [_row(case, *learnt) for case in own]
        made[source] = {"cases": len(own), **_means(mine), **_errors(own)}
        rows += mine
    by_source = [made[source] for source in dict.fromkeys(case.source for case in cases)]
    made["all"] = {"cases": len(cases), **_means(rows), **_errors(cases)} | {
        f"{name}_by_source": round(float(np.mean([each[name] for each in by_source])), 3)
        for name in ("within_50", "within_90")
    }
    return made


def _row(case: Case, half: float, ninety: float) -> tuple[bool, bool, float, float]:
    """Whether the end lies inside the 50 and the 90 % interval, and how wide they are, as shares of the end."""
    edges = [case.mixture.quantile(p, f) for p, f in ((0.25, half), (0.75, half), (0.05, ninety), (0.95, ninety))]
    inside = (edges[0] <= case.end <= edges[1], edges[2] <= case.end <= edges[3])
    return *inside, (edges[1] - edges[0]) / case.end, (edges[3] - edges[2]) / case.end


def _means(rows: Sequence[tuple[bool, bool, float, float]]) -> dict[str, float]:
    table = np.array(rows, float)
    inside, widths = table[:, :2].mean(0), np.median(table[:, 2:], axis=0)
    return {
        "within_50": round(float(inside[0]), 3),
        "within_90": round(float(inside[1]), 3),
        "width_50": round(float(widths[0]), 4),
        "width_90": round(float(widths[1]), 4),
    }


def _errors(cases: Sequence[Case]) -> dict[str, float]:
    """Median relative errors of the watch and of its rivals."""
    ends = np.array([case.end for case in cases])
    said = {
        "error": [case.mixture.quantile(0.5) for case in cases],
        "error_stays": [case.stays for case in cases],
        "error_power_law": [case.power for case in cases],
    }
    return {name: round(float(np.median(np.abs(np.array(values) / ends - 1))), 5) for name, values in said.items()}
