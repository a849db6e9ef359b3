"""A front with what is not certain of it: losses are noisy, and learning rates are not each at their best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.calibrate._evidence import NOISE
from forescale.sweep.pareto._points import Metric, Point, front, hypervolume, reference_point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

DRAWS = 2000  # of the Monte Carlo: chances to about a per cent
SEED = "seed"  # the setting that changes nothing but the noise


@dataclass(frozen=True, kw_only=True)
class Front:
    """Points of two objectives, those that none beats, and the chance of each to be among them in truth."""

    metric: Metric
    points: tuple[Point, ...]  # repeated seeds are one point, at their mean
    members: tuple[Point, ...]  # from the lowest loss to the best value
    chances: tuple[float, ...]  # of `points`: that no other one beats it, given the noise
    noise: float  # sd of ln loss of one run
    noise_source: str
    reference: tuple[float, float]  # loss and value
    hypervolume: float  # nats per token times the metric's unit, within the reference

    def chance(self, point: Point) -> float:
        """That no other point beats this one."""
        return next(c for p, c in zip(self.points, self.chances, strict=True) if p is point)

    def to_json(self) -> dict[str, Any]:
        """Everything in plain JSON types; a loss that is not finite is None."""
        members = {id(p) for p in self.members}
        return {
            "schema_version": 1,
            "metric": dict(vars(self.metric)),
            "reference": {"loss": self.reference[0], "value": self.reference[1]},
            "hypervolume": self.hypervolume,
            "noise": {"log_loss_sd": self.noise, "source": self.noise_source},
            "points": [
                {
                    "settings": dict(point.settings),
                    "loss": _finite(point.loss),
                    "value": _finite(point.value),
                    "loss_gap_percent": 100 * point.loss_gap,
                    "on_front": id(point) in members,
                    "chance": chance,
                }
                for point, chance in zip(self.points, self.chances, strict=True)
            ],
        }


def make_front(
    points: Iterable[Point],
    metric: Metric,
    *,
    reference: tuple[float, float] | None = None,
    noise: float | None = None,
    seed: int = 0,
) -> Front:
    """The front of these points, with the chance of each to be on it.

    `reference` (loss, value) None is `reference_point`'s. `noise` is the standard deviation of ln loss of one run; None takes
    it from points that differ by their `seed` alone, or else what cells of published sweeps scatter by (0.15 %). A chance
    counts in how many draws of the true numbers no other point beats this one: Gaussian around what was measured, less an
    exponential `loss_gap`. Raises `ForescaleError` where no point has two finite numbers.
    """
    given = tuple(points)
    if any(p.loss <= 0 for p in given):
        raise ForescaleError("a loss must be above 0, in nats per token: give the loss itself, not a score or its log.")
    sd, source = (noise, "given") if noise is not None else noise_of(given)
    if not 0 <= sd < math.inf:
        raise ForescaleError(f"noise must be finite and not below 0; got {sd:g}: it is the sd of ln loss.")
    merged = averaged(given, sd)
    at = reference_point(merged, metric) if reference is None else reference
    return Front(
        metric=metric,
        points=merged,
        members=front(merged, metric),
        chances=chances(merged, metric, sd, seed=seed),
        noise=sd,
        noise_source=source,
        reference=at,
        hypervolume=hypervolume(merged, metric, at),
    )


def noise_of(points: Sequence[Point]) -> tuple[float, str]:
    """The sd of ln loss over repeated seeds, all settings pooled, and where it is from."""
    squares, spare = 0.0, 0
    for group in _by_settings(points):
        logs = [math.log(p.loss) for p in _seeds(group).values() if p.measured]
        if len(logs) > 1:
            mean = sum(logs) / len(logs)
            squares, spare = squares + sum((x - mean) ** 2 for x in logs), spare + len(logs) - 1
    if spare:
        return math.sqrt(squares / spare), f"repeated seeds, {spare} degree{'s' * (spare > 1)} of freedom"
    return NOISE, "no repeated seeds: the scatter of runs in published sweeps"


def averaged(points: Sequence[Point], noise: float) -> tuple[Point, ...]:
    """Points that differ by their seed alone as one, at the mean of ln loss and of the value; diverged if any did."""
    return tuple(group[0] if len(group) == 1 else _mean(group, noise) for group in _by_settings(points))


def _seeds(group: Sequence[Point]) -> dict[str, Point]:
    """One point a seed: the same run made twice says nothing of the noise."""
    return {repr(p.settings.get(SEED)): p for p in group}


def _by_settings(points: Sequence[Point]) -> list[list[Point]]:
    """Points of equal settings but for the seed; without settings each by itself."""
    groups: defaultdict[object, list[Point]] = defaultdict(list)
    for i, point in enumerate(points):
        key = tuple(sorted((n, repr(v)) for n, v in point.settings.items() if n != SEED))
        groups[key if point.settings else i].append(point)
    return list(groups.values())


def _mean(group: Sequence[Point], noise: float) -> Point:
    seeds = _seeds(group)
    logs = [math.log(p.loss) for p in group]
    return replace(
        group[0],
        settings={n: v for n, v in group[0].settings.items() if n != SEED},
        loss=math.exp(math.fsum(logs) / len(group)),
        value=math.fsum(p.value for p in group) / len(group),
        loss_sd=_of_mean([noise if p.loss_sd is None else p.loss_sd for p in seeds.values()]),
        value_sd=_of_mean([p.value_sd for p in group]),
        loss_gap=max(p.loss_gap for p in group),
    )


def _of_mean(sds: Sequence[float]) -> float:
    return math.sqrt(math.fsum(sd**2 for sd in sds)) / len(sds)


def chances(
    points: Sequence[Point], metric: Metric, noise: float, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, ...]:
    """For each point the share of draws of the true numbers in which no other one beats it; 0 without finite numbers."""
    import numpy as np

    rng = np.random.default_rng(seed)
    kept = [p for p in points if p.measured]
    sd = np.array([noise if p.loss_sd is None else p.loss_sd for p in kept])
    log_loss, gap = np.log([p.loss for p in kept]), np.array([p.loss_gap for p in kept])
    cost, cost_sd = np.array([metric.cost(p.value) for p in kept]), np.array([p.value_sd for p in kept])
    count = np.zeros(len(kept))
    for _ in range(draws):
        true = log_loss + sd * rng.standard_normal(len(kept)) - gap * rng.exponential(size=len(kept))
        count += ~_beaten(true, cost + cost_sd * rng.standard_normal(len(kept)))
    found = iter((count / draws).tolist())
    return tuple(next(found) if p.measured else 0.0 for p in points)


def _beaten(loss: Array, cost: Array) -> NDArray[np.bool_]:
    """Which of them another one beats."""
    import numpy as np

    no_worse = (loss[:, None] <= loss) & (cost[:, None] <= cost)
    return np.asarray((no_worse & ~no_worse.T).any(0))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
