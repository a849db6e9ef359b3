"""What planning returns: the recipe, its layout on devices, its plateau, its rivals and its forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forescale.recipe import Recipe, Value
from forescale.workload import Workload

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
    """The range of one hyperparameter that costs at most `loss_gap` (a share of the loss)."""

    loss_gap: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """What being wrong costs: bands around the choice, and the loss gap of missing it by a factor (a share)."""

    learning_rate: tuple[Band, ...]
    batch_tokens: tuple[Band, ...]
    learning_rate_costs: Mapping[float, float]  # factor on the choice -> loss gap
    batch_tokens_costs: Mapping[float, float]
    source: str


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What another law would choose, and the loss gap that the default law's landscape expects of it (a share)."""

    law: str
    learning_rate: float | None
    batch_tokens: float | None
    expected_loss_gap: float | None  # None: beyond the landscape
    in_range: bool
    outside: Mapping[str, float]
    evidence: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something the reader should know before following the plan: a stable code and one sentence."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer of `forescale plan`."""

    workload: Workload
    recipe: Recipe
    layout: Layout
    plateau: Plateau
    alternatives: tuple[Alternative, ...]
    loss: Value
    compute: Value
    warnings: tuple[Caution, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; the keys of schema_version 1 that other programs rely on."""
        raise AssertionError
