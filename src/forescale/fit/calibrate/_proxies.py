"""Proxies: small sweeps that could be run, and what each would say of the laws before it is run.

Losses of runs around a cell's predicted optimum have a Fisher information on that optimum, on average over where it may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._belief import Belief, design, deviation
from forescale.fit.calibrate._calibrate import optimum_of
from forescale.fit.calibrate._evidence import MISSHAPEN, NOISE, STEEPNESS_SD
from forescale.fit.calibrate._valley import OCTAVE, across, floor, landscape_of
from forescale.laws import Landscape
from forescale.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SMALLER = tuple(2.0**-k for k in range(1, 9))  # params of a proxy, as shares of the target's
TOKENS_PER_PARAM = (10.0, 20.0, 40.0, 80.0)  # and the target's own
LEAST_PARAMS = 1e6
LEAST_STEPS = 200  # of a proxy, at its largest batch
MOST_LOG_RATE = 0.0  # a peak of 1: AdamW then moves a weight by its own size in a step or two
LEAST_RUNS = 3  # of a pattern, that a valley shows at all
DRIFT = 0.15  # octaves (sd) that laws bend for every factor of ten between proxy and target, in params and in tokens
# (octaves of rate off the best one of the batch, octaves of batch), in units of the spacing
PATTERNS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "3 rates": ((-1, 0), (0, 0), (1, 0)),
    "5 rates": ((-2, 0), (-1, 0), (0, 0), (1, 0), (2, 0)),
    "3 rates at 2 batches": ((-1, -1), (0, -1), (1, -1), (-1, 1), (0, 1), (1, 1)),
    "3 rates at 2 batches, the best and a smaller": tuple((float(u), float(v)) for v in (-1, 0) for u in (-1, 0, 1)),
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Proxy:
    """A cell that could be run, and what it would say of the coefficients."""

    pattern: str
    runs: tuple[SuggestedRun, ...]
    says: Array  # precision (8, 8)
    compute: float


def proxies(
    belief: Belief,
    target: Workload,
    budget: float,
    seq_len: int,
    *,
    least_params: float = LEAST_PARAMS,
    least_steps: int = LEAST_STEPS,
) -> Iterator[Proxy]:
    """Every cell that could be run within the budget (FLOPs), with what it would say."""
    for params in sizes(target, least_params):
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
                for found in _patterns(belief, proxy, target, seq_len):
                    largest = max(run.batch_tokens for run in found.runs)
                    if found.compute <= budget and least_steps * largest <= proxy.tokens:
                        yield found


def sizes(target: Workload, least_params: float = LEAST_PARAMS) -> list[float]:
    """Parameters of proxies, largest first."""
    return [float(f"{s * target.params:.2g}") for s in SMALLER if s * target.params >= least_params]


def _patterns(belief: Belief, proxy: Workload, target: Workload, seq_len: int) -> Iterator[Proxy]:
    import numpy as np

    mean, covariance = optimum_of(belief, proxy)
    landscape = landscape_of(proxy.is_moe)
    spacing = _spacing(landscape, covariance)
    for name, pattern in PATTERNS.items():
        points = mean + np.array([_placed(u, v, spacing, landscape) for u, v in pattern]) * OCTAVE
        points[:, 1] = np.log(np.maximum(np.round(np.exp(points[:, 1]) / seq_len), 1.0) * seq_len)
        points = points[points[:, 0] < MOST_LOG_RATE]
        if len(points) < LEAST_RUNS:
            continue
        on_optimum = _information(points, mean, covariance, landscape)
        yield Proxy(
            pattern=name,
            runs=tuple(_run(proxy, *point) for point in np.exp(points).tolist()),
            says=_on_coefficients(on_optimum, proxy, target),
            compute=len(points) * proxy.compute,
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
