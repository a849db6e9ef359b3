"""A calibrated law as a value: the law, what the runs taught, and how it did on cells that it had not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forescale.fit._scores import Score
from forescale.fit.calibrate._belief import Belief
from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._prior import Prior
from forescale.laws import Law
from forescale.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A coefficient before and after the runs: the estimate, its standard error and central 80 % interval."""

    prior: tuple[float, float, float, float]  # value, stderr, low, high
    posterior: tuple[float, float, float, float]

    def to_json(self) -> dict[str, Any]:
        """The posterior's numbers, and the prior's beside them."""
        names = ("value", "stderr", "low", "high")
        return dict(zip(names, self.posterior, strict=True)) | {"prior": dict(zip(names, self.prior, strict=True))}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of a workload's best value: its central 80 % interval, and one standard deviation in octaves."""

    value: float
    low: float
    high: float
    octaves: float


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What is known of one workload's optimum, and the loss gap (a share) to expect of the best choice under it."""

    learning_rate: Estimate
    batch_tokens: Estimate
    correlation: float  # of the two, in logarithms: both lie above their estimates together
    loss_gap: float

    def to_json(self) -> dict[str, Any]:
        """The gap in per cent."""
        return {
            "learning_rate": dict(vars(self.learning_rate)),
            "batch_tokens": dict(vars(self.batch_tokens)),
            "loss_gap_percent": 100 * self.loss_gap,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """The published prior after a user's runs.

    `at` is the workload that `law`'s caution is for, `before` and `after` what is known of its optimum. `widened` is the
    factor on the prior's variance (1: the runs agree with it). `held_out` scores the calibrated law and the refits without
    a prior on cells left out, `references` two that saw nothing of the runs or all.
    """

    law: Law
    prior: Prior
    start: Belief  # the prior, widened where the runs contradict it
    belief: Belief  # after the runs
    cells: tuple[Evidence, ...]
    at: Workload
    before: Foresight
    after: Foresight
    coefficients: Mapping[str, Mapping[str, Learnt]]
    widened: float
    left_out_labs: tuple[str, ...]
    held_out: tuple[Score, ...]
    references: tuple[Score, ...]
    runs: Mapping[str, Any]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, int]:
        """How many cells there are of each kind: sweep, one batch, one rate, best known, diverged."""
        kinds = [e.kind for e in self.cells]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def to_json(self) -> dict[str, Any]:
        """Everything in plain JSON types, gaps in per cent."""
        return {
            "schema_version": 1,
            "law": self.law.name,
            "prior": "published",
            "runs": dict(self.runs),
            "cells": len(self.cells),
            "evidence": self.kinds,
            "predicts": {quantity: self._quantity(quantity) for quantity in self.coefficients},
            "target": {"params": self.at.params, "active_params": self.at.active, "tokens": self.at.tokens},
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "prior_widened": self.widened,
            "labs": [lab.name for lab in self.prior.labs],
            "labs_left_out": list(self.left_out_labs),
            "held_out": {score.name: score.to_json() for score in self.held_out},
            "references": {score.name: score.to_json() for score in self.references},
            "range": {axis: list(ends) for axis, ends in self.law.range.items()},
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def _quantity(self, quantity: str) -> dict[str, Any]:
        formula = self.law.predicts[quantity]
        return {
            "formula": formula.text(),
            "caution": formula.caution,
            "parameters": {name: c.to_json() for name, c in self.coefficients[quantity].items()},
            "covariance_of": list(formula.covariance_of),
            "covariance": [list(row) for row in formula.covariance],
        }
