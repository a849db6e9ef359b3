"""How a model is trained: values with reasons, intervals and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number of a recipe with what a reader needs to judge it.

    `low` and `high` are bounds whose meaning `interval` states (None where none is known); `law` is a catalog
    name, a file, `user`, or `arithmetic`; `outside` maps each axis beyond the law's measured range to the factor by
    which it is beyond (2.0 = twice the upper edge, or half the lower one); `in_range` is None for values without a
    measured range.
    """

    value: float | int | str
    reason: str
    law: str
    low: float | None = None
    high: float | None = None
    in_range: bool | None = None
    outside: Mapping[str, float] = field(default_factory=dict[str, float])
    evidence: str = ""  # of the law or convention; empty for what no source states: a user's choice, arithmetic
    unit: str = ""
    interval: str = ""  # what low and high stand for

    def to_json(self) -> dict[str, Any]:
        """The value as plain JSON types, one key a field."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"outside": dict(self.outside)}

    @property
    def number(self) -> float:
        """The value as a float; a programmer error if it is a word."""
        assert not isinstance(self.value, str)
        return float(self.value)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every hyperparameter of an AdamW pretraining run, each a `Value`. Units: tokens, steps, ratios."""

    learning_rate: Value  # peak
    batch_tokens: Value  # tokens per optimizer step, as the devices allow
    batch_sequences: Value  # sequences per optimizer step
    steps: Value  # optimizer steps
    weight_decay: Value  # PyTorch AdamW's lambda (multiplied by the learning rate)
    timescale: Value  # AdamW averaging timescale B / (lr wd D), a share of the run
    beta1: Value
    beta2: Value
    epsilon: Value
    warmup_steps: Value
    schedule: Value  # "linear" or "cosine": the decay after a linear warmup
    final_lr_ratio: Value  # last learning rate over the peak; 0 for linear-to-zero
    grad_clip: Value  # global gradient norm
    init_std: Value

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Name -> the value's JSON, in the order of the fields."""
        return {f.name: getattr(self, f.name).to_json() for f in fields(self)}
