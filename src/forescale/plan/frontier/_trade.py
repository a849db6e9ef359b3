"""Which caps trace the frontier, and which of its runs is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from forescale.errors import ForescaleError
from forescale.plan.frontier._infeasible import reason
from forescale.plan.frontier._search import COMPUTE, LOSS, SECONDS, Caps, Objective, Problem, Runs, best, weighted

Array = Any
LEVELS = 16
SPAN = 10.0  # the frontier ends where ten times the least compute is spent, or its worth in loss is given up
TIE = 0.01  # of the weighted logarithms: below, the lower loss is chosen
APART = 0.03  # in the logarithm of the first traded quantity: runs nearer than that are one to a reader
GAIN = 0.01  # in that of the second, where it is compute
INFINITE = float("inf")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Runs on the frontier and the index of the chosen one."""

    runs: Runs
    chosen: int


Level = Callable[[Array], Runs]  # levels of the first traded quantity -> the best run within each


def trace(problem: Problem) -> Trace:
    """The frontier's runs, sorted by the first traded quantity; raise `ForescaleError` where there is none."""
    import numpy as np

    level, low, high = _levels(problem)
    runs = level(np.geomspace(low, high, LEVELS))
    pick = _pick(problem, runs, level)
    runs = _front(_joined(runs, pick), problem)
    places = np.abs(np.log(_first(problem, runs) / _first(problem, pick)))
    return thinned(Trace(runs=runs, chosen=int(np.argmin(places))), problem)


def _pick(problem: Problem, runs: Runs, level: Level) -> Runs:
    """The run to choose: by the weights of time and compute; with a deadline, the lowest loss.

    At a compute budget it is the run that the same weights would choose for its own loss, looked for again between the
    neighbours of the nearest; of ties, the lowest loss.
    """
    import numpy as np

    goal = problem.goal
    if goal.trade == ("compute", "loss"):
        return _only(runs, int(np.argmin(runs.loss)))
    weights = (0.0, 1 - goal.time_weight, goal.time_weight)
    if goal.loss is not None:
        own = best(problem, Caps(loss=goal.loss, compute=_most(problem, runs), seconds=runs.seconds[-1]), weights)
        nearest = _only(runs, int(np.argmin(weighted(runs, weights))))
        return own if own.violation[0] == 0 and weighted(own, weights) < weighted(nearest, weights) else nearest
    i, last = _like_chosen(problem, runs, weights), len(runs.seconds) - 1
    finer = level(np.geomspace(runs.seconds[max(i - 1, 0)], runs.seconds[min(i + 1, last)], LEVELS // 2 + 1))
    return _only(finer, _like_chosen(problem, finer, weights))


def _most(problem: Problem, runs: Runs) -> float:
    """The compute at the dearest end of a frontier for a loss."""
    return float(min(problem.goal.compute or INFINITE, runs.compute.max()))


def _like_chosen(problem: Problem, runs: Runs, weights: Objective) -> int:
    """The index of the run that is nearest to what the weights would choose for its loss."""
    import numpy as np

    gap = weighted(runs, weights) - weighted(best(problem, Caps(loss=runs.loss), weights), weights)
    return int(np.argmin(np.where(gap <= gap.min() + TIE, runs.loss, np.inf)))


def _levels(problem: Problem) -> tuple[Level, float, float]:
    """The best run within a level of the first traded quantity, and the levels at the frontier's two ends."""
    goal = problem.goal
    budget, deadline = goal.compute or INFINITE, goal.deadline or INFINITE

    def settle(caps: Caps, objective: Any) -> Runs:
        return _front(best(problem, caps, objective), problem)

    if goal.loss is not None:
        target = goal.loss
        cheapest = _need(problem, best(problem, Caps(loss=target, compute=budget, seconds=deadline), COMPUTE))
        most = min(budget, SPAN * cheapest.compute[0])
        fastest = _need(problem, best(problem, Caps(loss=target, compute=most, seconds=deadline), SECONDS))

        def by_time(seconds: Array) -> Runs:
            return settle(Caps(loss=target, compute=most, seconds=seconds), COMPUTE)

        return by_time, fastest.seconds[0], cheapest.seconds[0]
    lowest = _need(problem, best(problem, Caps(compute=budget, seconds=deadline), LOSS))
    if goal.deadline is not None:
        most = lowest.compute[0]

        def by_compute(compute: Array) -> Runs:
            return settle(Caps(compute=compute, seconds=deadline), LOSS)

        return by_compute, most / SPAN, most
    hurried = best(problem, Caps(compute=budget / SPAN), LOSS)
    fastest = best(problem, Caps(compute=budget, loss=hurried.loss[0]), SECONDS)
    least = fastest.seconds[0] if hurried.violation[0] == fastest.violation[0] == 0 else lowest.seconds[0] / SPAN

    def by_time_at_budget(seconds: Array) -> Runs:
        return settle(Caps(compute=budget, seconds=seconds), LOSS)

    return by_time_at_budget, least, lowest.seconds[0]


def _need(problem: Problem, runs: Runs) -> Runs:
    """The runs, if they keep their caps; else the reason why none does."""
    if runs.violation[0] > 0:
        raise ForescaleError(reason(problem))
    return runs


def _front(runs: Runs, problem: Problem) -> Runs:
    """The feasible runs that no other beats in both traded quantities, sorted by the first."""
    import numpy as np

    first, second = _first(problem, runs), _second(problem, runs)
    order = [i for i in np.lexsort((second, first)) if runs.violation[i] == 0]
    kept: list[int] = []
    for i in order:
        if not kept or second[i] < second[kept[-1]] * (1 - 1e-7):
            kept.append(int(i))
    return _only(runs, kept)


def _first(problem: Problem, runs: Runs) -> Array:
    return runs.seconds if problem.goal.trade[0] == "seconds" else runs.compute


def _second(problem: Problem, runs: Runs) -> Array:
    return runs.compute if problem.goal.trade[1] == "compute" else runs.loss


def _only(runs: Runs, which: Any) -> Runs:
    import numpy as np

    return Runs(**{f.name: np.atleast_1d(getattr(runs, f.name)[which]) for f in fields(runs)})


def _joined(a: Runs, b: Runs) -> Runs:
    import numpy as np

    return Runs(**{f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(a)})


def thinned(trace: Trace, problem: Problem) -> Trace:
    """The trace without runs that hardly differ from their neighbour or hardly gain by it; ends and choice stay."""
    import numpy as np

    first, second = np.log(_first(problem, trace.runs)), np.log(_second(problem, trace.runs))
    must = {0, trace.chosen, len(first) - 1}
    gain = GAIN if problem.goal.trade[1] == "compute" else 0.0
    kept: list[int] = []
    for i in range(len(first)):
        close = [m for m in must if m > i and first[m] - first[i] < APART]
        apart = not kept or (first[i] - first[kept[-1]] >= APART and second[kept[-1]] - second[i] >= gain)
        if i in must or (apart and not close):
            kept.append(i)
    return Trace(runs=_only(trace.runs, kept), chosen=kept.index(trace.chosen))
