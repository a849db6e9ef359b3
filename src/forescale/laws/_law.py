"""A law: published or fitted knowledge as a value, with its conditions and the range it was measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws._formula import SYMBOLS, Formula
from forescale.laws._landscape import Landscape
from forescale.quantities import humanize


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a law comes from, and how well that was checked: primary, secondary, computed or unverified."""

    paper: str
    reference: str  # an arXiv id or a URL
    place: str = ""  # equation, table, file
    evidence: str = "primary"


@dataclass(frozen=True, kw_only=True)
class TransferError:
    """How far a law's choice was from other labs' measured optima, in octaves (log2), and on what."""

    octaves: float
    measured_on: str


@dataclass(frozen=True, kw_only=True)
class Law:
    """What a paper (or a fit) says about hyperparameters or loss.

    `params_means` says which parameters the law's N counts (see `forescale.laws.variables`); `experts` is `dense`,
    `moe` or `any`; `range` maps a variable to the interval on which the law was measured.
    """

    name: str
    title: str
    kind: str  # "hyperparameters", "loss" or "rule" (a rule needs a reference run)
    predicts: Mapping[str, Formula]
    source: Source
    params_means: str = "non-vocabulary"
    compute_means: str = "6ND"
    experts: str = "dense"
    range: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])
    transfer_errors: Mapping[str, TransferError] = field(default_factory=dict[str, TransferError])
    landscape: Landscape | None = None
    conflicts: Mapping[str, str] = field(default_factory=dict[str, str])  # law -> why the two must not be composed
    notes: tuple[str, ...] = ()
    fitted_on: str = ""  # released runs that the constants were fitted on: scores there are not held out
    origin: str = "catalog"

    def predict(self, quantity: str, **x: Any) -> Any:
        """The law's value of `quantity` at the variables `x` (floats or numpy arrays; tokens, counts, FLOPs, nats).

        Raises `ForescaleError` if the law does not predict it, an input is missing, or the law has no positive value
        there.
        """
        value = self._evaluate(self.formula(quantity), x)
        if quantity.startswith("one_minus_") and not _everywhere(value < 1):
            raise ForescaleError(
                f"law {self.name} asks for {quantity.removeprefix('one_minus_')} of 0 or below "
                f"({quantity} {value}): the batch is too large for these tokens; choose a smaller batch."
            )
        if not _everywhere(value > 0):
            where = (
                f"this workload (it gives {value:.3g})"
                if isinstance(value, (int, float))
                else "some of these workloads"
            )
            raise ForescaleError(
                f"law {self.name} has no positive {quantity} for {where}: it was measured on "
                f"{self.range_text() or 'an unstated range'}; choose another with --law."
            )
        self._refuse_unusable(quantity, value, x)
        return value

    def _evaluate(self, formula: Formula, x: Mapping[str, Any]) -> Any:
        """The formula's value, finite; a law read from a file may have constants that no number survives."""
        for name in formula.inputs:
            if x.get(name) is not None and not _usable(name, x[name]):
                raise ForescaleError(f"law {self.name} needs {name} as a number above 0; got {x[name]!r}.")
        try:
            value = formula.evaluate(x)
        except ForescaleError:
            raise
        except (ArithmeticError, ValueError, TypeError, KeyError) as error:
            raise ForescaleError(f"law {self.name} has no value of {formula.quantity} here ({_said(error)}).") from None
        if isinstance(value, complex) or not _everywhere(abs(value) < math.inf):
            raise ForescaleError(f"law {self.name} has no finite {formula.quantity} here: choose another with --law.")
        return value

    def _refuse_unusable(self, quantity: str, value: Any, x: Mapping[str, Any]) -> None:
        """No AdamW run trains at a learning rate of 1, or where one step takes a weight to or past 0."""
        if quantity == "learning_rate" and self.kind != "rule" and not _everywhere(value < 1):
            raise ForescaleError(f"law {self.name} asks for a learning_rate of 1 or more: it has no meaning for AdamW.")
        rate = x.get("learning_rate")
        if quantity == "weight_decay" and rate is not None and not _everywhere(value * rate < 1):
            raise ForescaleError(
                f"law {self.name} asks for a weight_decay of 1 / learning_rate or more: every step would take all of "
                "a weight; choose another with --law."
            )

    def formula(self, quantity: str) -> Formula:
        """The formula of `quantity`; raise `ForescaleError` naming what the law does predict."""
        if quantity not in self.predicts:
            raise ForescaleError(
                f"law {self.name} does not predict {quantity}; it predicts {', '.join(sorted(self.predicts))}."
            )
        return self.predicts[quantity]

    def outside(self, x: Mapping[str, Any]) -> dict[str, float]:
        """Axis -> factor by which `x` lies beyond the measured range; empty inside it."""
        beyond: dict[str, float] = {}
        for axis, (low, high) in self.range.items():
            value = x.get(axis)
            if value is None:
                continue
            # A relative tolerance: a range printed to three digits includes the run it was read from.
            if value > high * 1.005:
                beyond[axis] = value / high
            elif value < low * 0.995:
                beyond[axis] = low / value if value > 0 else float("inf")
        return beyond

    @property
    def label(self) -> str:
        """What tells the law: its name in the catalog, or the path of its file."""
        return self.name if self.origin == "catalog" else self.origin

    def range_text(self) -> str:
        """The measured range in words; '' where none is stated."""
        return ", ".join(f"{SYMBOLS.get(axis, axis)} {_span(axis, *ends)}" for axis, ends in self.range.items())


def _span(axis: str, low: float, high: float) -> str:
    shown_low, shown_high = spell(axis, low), spell(axis, high)
    if low == 0:
        return f"up to {shown_high}"
    return shown_low if shown_low == shown_high else f"{shown_low} to {shown_high}"


def spell(variable: str, value: float) -> str:
    """A variable's value as the field writes it: 7B tokens, 1e+20 FLOPs, a width of 4096."""
    if variable == "width":
        return f"{value:.0f}"
    return f"{value:.3g}" if variable == "compute" else humanize(value)


def _usable(name: str, value: Any) -> bool:
    """Whether an input is a number (or an array) above 0; a sparsity may be 0."""
    try:
        return _everywhere(value >= 0 if name == "sparsity" else value > 0)
    except (TypeError, AttributeError):
        return False


def _said(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "a division by zero"
    return "a number too large" if isinstance(error, OverflowError) else str(error)


def _everywhere(condition: Any) -> bool:
    """Whether a comparison holds, for a float's bool or an array's."""
    return condition if isinstance(condition, bool) else bool(condition.all())
