"""A law: published or fitted knowledge as a value, with its conditions and the range it was measured on."""

from __future__ import annotations

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
        value = self.formula(quantity).evaluate(x)
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
        return value

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

    def range_text(self) -> str:
        """The measured range in words; '' where none is stated."""
        return ", ".join(f"{SYMBOLS.get(axis, axis)} {_span(axis, *ends)}" for axis, ends in self.range.items())


def _span(axis: str, low: float, high: float) -> str:
    shown_low, shown_high = (f"{v:.3g}" if axis == "compute" else humanize(v) for v in (low, high))
    if low == 0:
        return f"up to {shown_high}"
    return shown_low if shown_low == shown_high else f"{shown_low} to {shown_high}"


def _everywhere(condition: Any) -> bool:
    """Whether a comparison holds, for a float's bool or an array's."""
    return condition if isinstance(condition, bool) else bool(condition.all())
