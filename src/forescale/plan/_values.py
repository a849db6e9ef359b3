"""What planning returns: the recipe, its layout on devices, its plateau, its rivals and its forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from forescale.laws import Landscape
from forescale.recipe import Recipe, Value
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.fit.calibrate import Calibration
    from forescale.noise.schedule import BatchSchedule

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one optimizer step's batch is laid out: sequences = devices * micro_batch * accumulation."""

    devices: int  # data-parallel ranks
    micro_batch: int  # sequences a device takes at once
    accumulation: int  # micro-batches a device accumulates before a step
    target_tokens: float  # the batch that was asked for, before rounding

    @property
    def sequences(self) -> int:
        """Sequences per optimizer step."""
        return self.devices * self.micro_batch * self.accumulation


@dataclass(frozen=True, kw_only=True)
class Band:
    """The range of one hyperparameter that costs at most `loss_gap_percent` of loss."""

    loss_gap_percent: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What choosing `factor` times the optimum costs, in per cent of loss."""

    factor: float
    loss_gap_percent: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The plateau along one hyperparameter, the other at its best."""

    bands: tuple[Band, ...]
    costs: tuple[Cost, ...]
    centre: float  # the best value, which the bands lie around and the factors multiply


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """What being wrong costs, from a measured landscape of loss around the optimum."""

    learning_rate: Axis
    batch_tokens: Axis
    source: str
    in_range: bool  # whether the landscape was measured on such a workload
    outside: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """A landscape put in place: the optimum that it is centred on, in learning rate and tokens."""

    landscape: Landscape
    law: str  # the law that carries the landscape
    learning_rate: float
    batch_tokens: float
    outside: Mapping[str, float] = field(default_factory=dict[str, float])  # beyond the landscape's measured range

    def loss_gap_percent(self, learning_rate: float | None, batch_tokens: float | None) -> float | None:
        """Expected loss gap of a choice; what is left open (None) is taken at its best; None beyond the landscape."""
        v = 1.0 if batch_tokens is None else batch_tokens / self.batch_tokens
        u = v**self.landscape.ridge if learning_rate is None else learning_rate / self.learning_rate
        gap = self.landscape.gap(u, v)
        return None if gap is None else 100 * gap


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What another law would choose, and the loss gap that the landscape expects of following it."""

    law: str
    learning_rate: float | None  # None: the law does not say
    batch_tokens: float | None
    loss_gap_percent: float | None  # None: beyond what the landscape covers
    in_range: bool | None  # None: the law states no range
    outside: Mapping[str, float]
    evidence: str
    assumed: tuple[str, ...]  # what the law leaves open, taken at its best
    note: str


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something to know before following the plan: a stable code and one sentence."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer of `forescale plan`."""

    workload: Workload
    recipe: Recipe
    layout: Layout
    plateau: Plateau
    terrain: Terrain  # what the plateau and the alternatives' loss gaps were read from; not part of the JSON
    alternatives: tuple[Alternative, ...]
    loss: Value
    compute: Value
    warnings: tuple[Caution, ...]
    calibration: Calibration | None = None  # what the user's runs taught, where there were any
    # A batch that changes along the run, where one was asked for; the recipe's steps and warmup count at its own batch, so
    # that they are tokens: the run's length and its learning rate over tokens are those of the recipe.
    batch_schedule: BatchSchedule | None = None

    @property
    def run_tokens(self) -> int:
        """Tokens of the run: the recipe's whole steps at its batch."""
        return round(self.recipe.steps.number * self.recipe.batch_tokens.number)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, with the keys of schema_version 1 that other programs rely on."""
        return {
            "schema_version": SCHEMA_VERSION,
            "workload": self.workload.to_json(),
            "recipe": self.recipe.to_json(),
            "layout": asdict(self.layout) | {"sequences": self.layout.sequences},
            "plateau": asdict(self.plateau),
            "alternatives": [asdict(a) for a in self.alternatives],
            "loss": self.loss.to_json(),
            "compute": self.compute.to_json(),
            "warnings": [asdict(w) for w in self.warnings],
            **({} if self.calibration is None else {"calibration": self.calibration.to_json()}),
            **({} if self.batch_schedule is None else {"batch_schedule": self._batches(self.batch_schedule)}),
        }

    def _batches(self, schedule: BatchSchedule) -> dict[str, Any]:
        steps = schedule.steps(self.run_tokens)
        return {**schedule.to_json(), "steps": steps.count, "mean_batch_tokens": steps.mean_batch}
