"""Which runs next: the cheap ones that lower the target's expected loss gap most per FLOP, in closed form.

The belief after a proxy has a known covariance, and that covariance has an expected gap at the target. So no run is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.calibrate._belief import Belief
from forescale.fit.calibrate._calibrate import calibrate, foresight
from forescale.fit.calibrate._calibrated import Foresight
from forescale.fit.calibrate._proxies import (
    DRIFT,
    LEAST_PARAMS,
    LEAST_STEPS,
    Proxy,
    SuggestedRun,
    proxies,
    sizes,
)
from forescale.quantities import humanize, positive
from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]

WORTH = 1 / 300  # of the budget: a run costs at least this much trouble, whatever its FLOPs
GAIN = 0.01  # of the expected gap: a cell that lowers it by less ends the list
MOST_CELLS = 12
APART = 1.5  # factor in params or tokens between two cells: nearer ones share their deviation from the laws


@dataclass(frozen=True, kw_only=True)
class SuggestedCell:
    """Runs of one workload, in the order in which they help; `loss_gap` (a share) is expected once they are in."""

    pattern: str
    runs: tuple[SuggestedRun, ...]
    loss_gap: float

    @property
    def compute(self) -> float:
        """FLOPs of all runs."""
        return sum(run.compute for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The runs to make within a budget, and what they will buy at the target."""

    target: Workload
    budget: float
    cells: tuple[SuggestedCell, ...]
    before: Foresight
    after: Foresight
    notes: tuple[str, ...]

    @property
    def compute(self) -> float:
        """FLOPs of all cells."""
        return sum(cell.compute for cell in self.cells)

    @property
    def runs(self) -> tuple[SuggestedRun, ...]:
        """All runs, those first that help most."""
        return tuple(run for cell in self.cells for run in cell.runs)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, gaps in per cent."""
        return {
            "schema_version": 1,
            "target": self.target.to_json(),
            "budget": self.budget,
            "compute": self.compute,
            "share_of_target": self.compute / self.target.compute,
            "runs": [dict(vars(run)) for run in self.runs],
            "cells": [
                {
                    "params": cell.runs[0].params,
                    "tokens": cell.runs[0].tokens,
                    "pattern": cell.pattern,
                    "runs": len(cell.runs),
                    "compute": cell.compute,
                    "loss_gap_percent": 100 * cell.loss_gap,
                }
                for cell in self.cells
            ],
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "notes": list(self.notes),
        }


def suggest(
    target: Workload,
    budget: float,
    *,
    runs: Runs | None = None,
    seq_len: int = 2048,
    least_params: float = LEAST_PARAMS,
    least_steps: int = LEAST_STEPS,
) -> Suggestion:
    """The runs that lower the target's expected loss gap most for `budget` FLOPs, given the prior and `runs` so far.

    Proxies have at most half of the target's parameters and at least `least_params`, and take at least `least_steps` steps;
    batches are whole sequences of `seq_len` tokens. Raises `ForescaleError` where the budget buys no run that helps.
    """
    positive(budget, "budget")
    smallest = sizes(target, least_params)
    if not smallest:
        raise ForescaleError(
            f"a proxy has at most half of the target's parameters and at least {humanize(least_params)}; the target has "
            f"{humanize(target.params)}: it is as cheap as a proxy, so sweep it itself."
        )
    belief = calibrate(runs, target=target, scored=False).belief
    within = list(proxies(belief, target, budget, seq_len, least_params=least_params, least_steps=least_steps))
    if not within:
        raise ForescaleError(
            f"a budget of {budget:.3g} FLOPs buys no sweep for this target: the smallest, three runs of "
            f"{humanize(smallest[-1])} parameters, takes more; raise --budget."
        )
    rated = [_greedy(belief, target, within, budget, rate) for rate in (_per_flop, _whole)]
    chosen, after = min(rated, key=lambda found: found[1].loss_gap)
    return Suggestion(
        target=target,
        budget=budget,
        cells=chosen,
        before=foresight(belief, target),
        after=after,
        notes=tuple(_notes(target, runs, chosen)),
    )


def _greedy(
    belief: Belief, target: Workload, within: Sequence[Proxy], budget: float, rate: Callable[[float, float], float]
) -> tuple[tuple[SuggestedCell, ...], Foresight]:
    """Take the best proxy by `rate` (of gain and cost) until the budget is spent or nothing helps any more."""
    cells: list[SuggestedCell] = []
    now, left = foresight(belief, target), budget
    while len(cells) < MOST_CELLS:
        tried = [(p, foresight(_with(belief, p.says), target)) for p in within if p.compute <= left]
        if not tried:
            break
        best, then = max(
            tried, key=lambda t: rate(now.loss_gap - t[1].loss_gap, max(t[0].compute, WORTH * budget * len(t[0].runs)))
        )
        if now.loss_gap - then.loss_gap < GAIN * now.loss_gap:
            break
        belief, now, left = _with(belief, best.says), then, left - best.compute
        cells.append(SuggestedCell(pattern=best.pattern, runs=best.runs, loss_gap=now.loss_gap))
        within = [p for p in within if _apart(p.runs[0], best.runs[0])]
    return tuple(cells), now


def _apart(a: SuggestedRun, b: SuggestedRun) -> bool:
    return any(abs(math.log(x / y)) >= math.log(APART) for x, y in ((a.params, b.params), (a.tokens, b.tokens)))


def _per_flop(gain: float, cost: float) -> float:
    return gain / cost


def _whole(gain: float, cost: float) -> float:
    """The gain alone: what the ratio passes over because it is dear."""
    del cost
    return gain


def _with(belief: Belief, says: Array) -> Belief:
    """The belief after information of that precision that changes nothing in the mean."""
    precision = belief.precision + says
    return Belief(precision=precision, shift=precision @ belief.mean)


def _notes(target: Workload, runs: Runs | None, cells: Sequence[SuggestedCell]) -> Iterator[str]:
    yield (
        "the published prior, no runs of your own yet"
        if runs is None
        else f"the published prior, calibrated on {runs.source}"
    )
    yield (
        f"laws are taken to bend by {DRIFT:g} octaves for every factor of ten between a proxy and the target, and a run to "
        f"cost at least {WORTH:.1%} of the budget"
    )
    if (compute := sum(cell.compute for cell in cells)) > target.compute:
        yield f"these runs take {compute / target.compute:.3g} times the target's own compute: a smaller budget buys most of it"
    if not cells:
        yield "no sweep within the budget lowers the expected gap by more than 1 %: train the target"
