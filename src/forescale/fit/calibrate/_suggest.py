"""Which runs next: the cheap ones that lower the target's expected loss gap most per FLOP, in closed form.

A cell of runs around its predicted optimum is worth a Fisher information on that optimum, whatever it turns out to be; the
belief after it has a known covariance, and that covariance has an expected gap at the target. So no run is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.calibrate._belief import Belief, design, deviation
from forescale.fit.calibrate._calibrate import calibrate, foresight, landscape_of, optimum_of
from forescale.fit.calibrate._calibrated import Foresight
from forescale.fit.calibrate._evidence import MISSHAPEN, NOISE, STEEPNESS_SD
from forescale.fit.calibrate._valley import OCTAVE, across, floor
from forescale.laws import Landscape
from forescale.quantities import humanize, positive
from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.runs import Runs

    Array = NDArray[np.floating[Any]]

SMALLER = tuple(2.0**-k for k in range(1, 9))  # params of a proxy, as shares of the target's
TOKENS_PER_PARAM = (10.0, 20.0, 40.0, 80.0)  # and the target's own
LEAST_PARAMS = 1e6
LEAST_STEPS = 200  # of a proxy, at its largest batch
WORTH = 1 / 300  # of the budget: a run costs at least this much trouble, whatever its FLOPs
DRIFT = (
    0.15  # octaves (sd) that laws bend for every factor of ten between a proxy and the target, in params and in tokens
)
GAIN = 0.01  # of the expected gap: a cell that lowers it by less ends the list
MOST_CELLS = 12
APART = 1.5  # factor in params or tokens between two cells: nearer ones share their deviation from the laws
# (octaves of rate off the best one of the batch, octaves of batch), in units of the spacing
PATTERNS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "3 rates": ((-1, 0), (0, 0), (1, 0)),
    "5 rates": ((-2, 0), (-1, 0), (0, 0), (1, 0), (2, 0)),
    "3 rates at 2 batches": ((-1, -1), (0, -1), (1, -1), (-1, 1), (0, 1), (1, 1)),
    "3 rates at 3 batches": tuple((float(u), float(v)) for v in (-1, 0, 1) for u in (-1, 0, 1)),
}
SIGMA = ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))  # where the optimum may be, in its own sds


@dataclass(frozen=True, kw_only=True)
class SuggestedRun:
    """One run to make; `compute` in FLOPs."""

    params: float
    active_params: float
    tokens: float
    learning_rate: float
    batch_tokens: float
    compute: float


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proxy:
    """A cell that could be run, and what it would say of the coefficients."""

    pattern: str
    runs: tuple[SuggestedRun, ...]
    says: Array  # precision (8, 8)
    compute: float


def suggest(target: Workload, budget: float, *, runs: Runs | None = None, seq_len: int = 2048) -> Suggestion:
    """The runs that lower the target's expected loss gap most for `budget` FLOPs, given the prior and `runs` so far.

    Proxies have at most half of the target's parameters; batches are whole sequences of `seq_len` tokens.
    Raises `ForescaleError` where the budget buys no run that helps.
    """
    positive(budget, "budget")
    belief = calibrate(runs, target=target, scored=False).belief
    proxies = list(_proxies(belief, target, budget, seq_len))
    if not proxies:
        raise ForescaleError(
            f"a budget of {budget:.3g} FLOPs buys no sweep for this target: the smallest, three runs of "
            f"{humanize(_sizes(target)[-1])} parameters, takes more; raise --budget."
        )
    rated = [_greedy(belief, target, proxies, budget, rate) for rate in (_per_flop, _whole)]
    chosen, after = min(rated, key=lambda found: found[1].loss_gap)
    return Suggestion(
        target=target,
        budget=budget,
        cells=chosen,
        before=foresight(belief, target),
        after=after,
        notes=tuple(_notes(runs, chosen)),
    )


def _greedy(
    belief: Belief, target: Workload, proxies: Sequence[_Proxy], budget: float, rate: Callable[[float, float], float]
) -> tuple[tuple[SuggestedCell, ...], Foresight]:
    """Take the best proxy by `rate` (of gain and cost) until the budget is spent or nothing helps any more."""
    cells: list[SuggestedCell] = []
    now, left = foresight(belief, target), budget
    while len(cells) < MOST_CELLS:
        tried = [(p, foresight(_with(belief, p.says), target)) for p in proxies if p.compute <= left]
        if not tried:
            break
        best, then = max(
            tried, key=lambda t: rate(now.loss_gap - t[1].loss_gap, max(t[0].compute, WORTH * budget * len(t[0].runs)))
        )
        if now.loss_gap - then.loss_gap < GAIN * now.loss_gap:
            break
        belief, now, left = _with(belief, best.says), then, left - best.compute
        cells.append(SuggestedCell(pattern=best.pattern, runs=best.runs, loss_gap=now.loss_gap))
        proxies = [p for p in proxies if _apart(p.runs[0], best.runs[0])]
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


def _proxies(belief: Belief, target: Workload, budget: float, seq_len: int) -> Iterator[_Proxy]:
    for params in _sizes(target):
        for ratio in sorted({*TOKENS_PER_PARAM, target.tokens_per_param}):
            active = params * target.active / target.params
            proxy = replace(
                target,
                params=params,
                active_params=active if target.is_moe else None,
                tokens=ratio * active,
                shape=None,
                unique_tokens=None,
                source="a proxy",
            )
            if proxy.tokens <= target.tokens:
                yield from _patterns(belief, proxy, target, budget, seq_len)


def _sizes(target: Workload) -> list[float]:
    return [float(f"{s * target.params:.2g}") for s in SMALLER if s * target.params >= LEAST_PARAMS]


def _patterns(belief: Belief, proxy: Workload, target: Workload, budget: float, seq_len: int) -> Iterator[_Proxy]:
    import numpy as np

    mean, covariance = optimum_of(belief, proxy)
    landscape = landscape_of(proxy.is_moe)
    spacing = _spacing(landscape, covariance)
    for name, pattern in PATTERNS.items():
        compute = len(pattern) * proxy.compute
        points = mean + np.array([_placed(u, v, spacing, landscape) for u, v in pattern]) * OCTAVE
        points[:, 1] = np.log(np.maximum(np.round(np.exp(points[:, 1]) / seq_len), 1.0) * seq_len)
        if compute > budget or LEAST_STEPS * math.exp(points[:, 1].max()) > proxy.tokens:
            continue
        on_optimum = _information(points, mean, covariance, landscape)
        yield _Proxy(
            pattern=name,
            runs=tuple(_run(proxy, *point) for point in np.exp(points).tolist()),
            says=_on_coefficients(on_optimum, proxy, target),
            compute=compute,
        )


def _spacing(landscape: Landscape, covariance: Array) -> tuple[float, float]:
    """Octaves between rates and between batches: about one standard deviation, from one to two."""
    import numpy as np

    turn = np.array([[1.0, -landscape.ridge], [0.0, 1.0]])
    rate, batch = np.sqrt(np.diag(turn @ covariance @ turn.T)) / OCTAVE
    return min(max(float(rate), 1.0), 2.0), min(max(float(batch), 1.0), 2.0)


def _placed(u: float, v: float, spacing: tuple[float, float], landscape: Landscape) -> tuple[float, float]:
    """Octaves of rate and batch off the predicted optimum, the rates along the ridge."""
    batch = v * spacing[1]
    return u * spacing[0] + landscape.ridge * batch, batch


def _run(proxy: Workload, rate: float, batch: float) -> SuggestedRun:
    return SuggestedRun(
        params=proxy.params,
        active_params=proxy.active,
        tokens=proxy.tokens,
        learning_rate=float(f"{rate:.3g}"),
        batch_tokens=round(batch),
        compute=proxy.compute,
    )


def _information(points: Array, mean: Array, covariance: Array, landscape: Landscape) -> Array:
    """Fisher information (2, 2) of losses at `points` on the cell's optimum, on average over where it may be."""
    import numpy as np

    root = np.linalg.cholesky(covariance)
    found = [_fisher(points, mean + root @ np.array(z), landscape) for z in SIGMA]
    return np.mean(found, axis=0)


def _fisher(points: Array, optimum: Array, landscape: Landscape) -> Array:
    """At one optimum: the lowest loss is free, and the steepness known as `_evidence` takes it to be."""
    import numpy as np

    step = 0.05 * OCTAVE
    gap = _gap(points, optimum, landscape)
    slopes = [
        (_gap(points, optimum + step * axis, landscape) - _gap(points, optimum - step * axis, landscape)) / (2 * step)
        for axis in np.eye(2)
    ]
    weights = 1 / (NOISE**2 + (MISSHAPEN * gap) ** 2)
    columns = np.column_stack([*slopes, gap, np.ones_like(gap)])
    gram = (columns * weights[:, None]).T @ columns
    gram[2, 2] += STEEPNESS_SD**-2
    nuisance = np.linalg.pinv(gram[2:, 2:])
    return gram[:2, :2] - gram[:2, 2:] @ nuisance @ gram[2:, :2]


def _gap(points: Array, optimum: Array, landscape: Landscape) -> Array:
    u, v = ((points - optimum) / OCTAVE).T
    return across(landscape, u - landscape.ridge * v) + floor(landscape, v)


def _on_coefficients(information: Array, proxy: Workload, target: Workload) -> Array:
    """Information on the coefficients: through the cell's own deviation, and the bend of the laws up to the target."""
    import numpy as np

    decades = [math.log10(target.params / proxy.params), math.log10(target.tokens / proxy.tokens)]
    bend = (DRIFT * OCTAVE) ** 2 * sum(d * d for d in decades)
    X = design(proxy.params, proxy.tokens, proxy.active)
    through = np.linalg.inv(np.eye(2) + information @ (deviation() + bend * np.eye(2)))
    return X.T @ through @ information @ X


def _notes(runs: Runs | None, cells: Sequence[SuggestedCell]) -> Iterator[str]:
    yield (
        "the published prior, no runs of your own yet"
        if runs is None
        else f"the published prior, calibrated on {runs.source}"
    )
    yield (
        f"laws are taken to bend by {DRIFT:g} octaves for every factor of ten between a proxy and the target, and a run to "
        f"cost at least {WORTH:.1%} of the budget"
    )
    if not cells:
        yield "no sweep within the budget lowers the expected gap by more than 1 %: train the target"
