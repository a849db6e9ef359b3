"""What the search for a frontier returns: its points, the choice, and what the choice rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from forescale.plan._values import Caution
from forescale.plan.frontier._search import Problem
from forescale.recipe import Value

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run: whole steps of a whole batch. Counts, tokens, FLOPs, seconds, nats per token."""

    params: float  # as the loss law counts them
    tokens: float  # steps x batch_tokens
    batch_tokens: int
    sequences: int  # of a batch
    steps: int
    compute: float  # 6 x params x tokens
    lifetime_compute: float  # with 2 x params for every token served
    seconds: float
    loss: float
    loss_low: float | None  # 80 % interval, as of a plan's loss; None where the law publishes no uncertainty
    loss_high: float | None
    tokens_per_param: float
    small_batch_tokens: float  # D_min: the tokens that a small batch would need for this loss
    critical_batch_tokens: float
    devices: int | None  # that the batch keeps busy; None: time was given per step
    efficiency: float  # share of a step in which the devices compute
    device_seconds: float | None
    cost: float | None  # at the price of a device for an hour, of the devices in use
    joules: float | None
    in_range: bool  # whether both laws were measured on such a run
    outside: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, Mapping[str, float]]
    )  # law -> axis -> factor


@dataclass(frozen=True, kw_only=True)
class OtherSize:
    """The best run of a model of another size, and whether the frontier has one that is better in both respects.

    For a loss wanted: its best by the same weight. Otherwise: what it reaches in the time and compute of the choice.
    """

    point: Point
    dominated: bool


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What another critical batch says of the chosen run: its loss, all else being equal."""

    law: str
    factor: float  # on that law's critical batch
    critical_batch_tokens: float
    loss: float
    evidence: str
    in_range: bool | None  # None: the law states no range


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The answer of `forescale frontier`: no point is worse than another in both traded quantities."""

    problem: Problem  # goal, cluster and laws; not part of the JSON
    points: tuple[Point, ...]  # sorted by the first traded quantity
    chosen: Point  # one of the points
    other_sizes: tuple[OtherSize, ...]
    doubts: tuple[Doubt, ...]
    loss: Value  # of the chosen point, with its interval
    reasons: Mapping[str, str]  # how the chosen point follows
    assumptions: Mapping[str, Value]
    warnings: tuple[Caution, ...]

    @property
    def trade(self) -> tuple[str, str]:
        """The two quantities that the points trade against each other."""
        first, second = self.problem.goal.trade
        return (self._key(first), self._key(second))

    def _key(self, quantity: str) -> str:
        return "lifetime_compute" if quantity == "compute" and self.problem.goal.served else quantity

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, with the keys of schema_version 1 that other programs rely on."""
        goal, cluster = self.problem.goal, self.problem.cluster
        return {
            "schema_version": SCHEMA_VERSION,
            "goal": asdict(goal) | {"weight": goal.time_weight if self.trade[0] == "seconds" else None},
            "cluster": asdict(cluster) | {"flops": cluster.peak if cluster.seconds_per_step is None else None},
            "traded": list(self.trade),
            "points": [asdict(point) for point in self.points],
            "chosen": asdict(self.chosen),
            "chosen_index": self.points.index(self.chosen),
            "other_sizes": [asdict(other) for other in self.other_sizes],
            "critical_batch_doubts": [asdict(doubt) for doubt in self.doubts],
            "loss": self.loss.to_json(),
            "reasons": dict(self.reasons),
            "assumptions": {name: value.to_json() for name, value in self.assumptions.items()},
            "warnings": [asdict(warning) for warning in self.warnings],
        }
