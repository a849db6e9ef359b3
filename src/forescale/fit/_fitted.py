"""A fitted law as a value: the law, how sure it is, and how it did on cells it had not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forescale.fit._scores import Score
from forescale.laws import Law


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One coefficient (`log coefficient`, or an exponent by its input): value, and what the bootstrap says of it.

    `low` and `high` are the central 80 % of the resamples, `mean` their mean (what Step Law's authors report).
    """

    value: float
    stderr: float
    low: float
    high: float
    mean: float

    def to_json(self) -> dict[str, float]:
        """The five numbers."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How the coefficients' uncertainty was found: resamples over `cells` (or `points`), and those of no use."""

    over: str
    resamples: int
    dropped: int  # resamples that hardly tell the coefficients apart
    seed: int


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """A law fitted to runs.

    `held_out` scores every protocol on cells left out, by ascending mean linear gap; `choice` scores the choice between
    them, made without the cell (None where the cells are too few); `references` are published Step Law and the best
    constant setting in hindsight on the same cells. `chosen_because` says why this protocol.
    """

    law: Law
    protocol: str
    batch_inputs: tuple[str, ...]
    chosen_because: str
    coefficients: Mapping[str, Mapping[str, Coefficient]]
    bootstrap: Bootstrap
    held_out: tuple[Score, ...]
    choice: Score | None
    references: tuple[Score, ...]
    cells: int
    runs: Mapping[str, Any]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> str:
        """The name of the held-out score whose protocol became the law."""
        return next(s.name for s in self.held_out if self.chosen_because.startswith(f"{s.name} ("))

    def to_json(self) -> dict[str, Any]:
        """Everything in plain JSON types, gaps in per cent."""
        return {
            "schema_version": 1,
            "law": self.law.name,
            "runs": dict(self.runs),
            "cells": self.cells,
            "protocol": self.protocol,
            "batch_inputs": list(self.batch_inputs),
            "chosen_because": self.chosen_because,
            "predicts": {quantity: self._quantity(quantity) for quantity in self.coefficients},
            "bootstrap": dict(vars(self.bootstrap)),
            "held_out": {score.name: score.to_json() for score in self.held_out},
            "choice_held_out": self.choice.to_json() if self.choice is not None else None,
            "references": {score.name: score.to_json() for score in self.references},
            "range": {axis: list(ends) for axis, ends in self.law.range.items()},
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def _quantity(self, quantity: str) -> dict[str, Any]:
        formula = self.law.predicts[quantity]
        return {
            "formula": formula.text(),
            "parameters": {name: c.to_json() for name, c in self.coefficients[quantity].items()},
            "covariance_of": list(formula.covariance_of),
            "covariance": [list(row) for row in formula.covariance],
        }
