"""A fitted loss law as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from forescale.laws import Law
from forescale.laws._families import FAMILIES

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A constant as the law prints it, with the bootstrap's standard deviation and its 80 % interval."""

    value: float
    stderr: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """The four numbers; None for an interval that is not known."""
        numbers = {"value": self.value, "stderr": self.stderr, "low": self.low, "high": self.high}
        return {name: _finite(v) for name, v in numbers.items()}


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Constants and their mean Huber loss; `bias` and `rms` where they were held against runs left out."""

    constants: Mapping[str, float]
    objective: float
    bias: float | None = None
    rms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """In plain JSON types, without what was not measured."""
        held = {"bias": self.bias, "rms": self.rms} if self.bias is not None else {}
        return {"constants": {n: _finite(v) for n, v in self.constants.items()}, "objective": self.objective, **held}


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """How the law, fitted to the cheaper runs alone, predicts the most expensive ones.

    `bias` and `rms` are of ln(predicted / measured) over the `held_out` runs, which reach `factor` times the compute of
    the dearest run fitted. `each` is the same for the sets of constants within 5 % of that fit's objective, best first,
    and `bias_low` and `bias_high` span them: where they differ much, the lowest objective alone misleads.
    """

    bias: float
    rms: float
    bias_low: float
    bias_high: float
    held_out: int
    factor: float
    each: tuple[Optimum, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The numbers by name, and those of each set of constants."""
        numbers = {k: getattr(self, k) for k in ("bias", "rms", "bias_low", "bias_high", "held_out", "factor")}
        return {**numbers, "each": [optimum.to_json() for optimum in self.each]}


@dataclass(frozen=True, kw_only=True, eq=False)
class LossFit:
    """A loss law fitted to runs.

    `objective` is the mean Huber loss of the log loss (or of the loss); `rms` that of ln(predicted / measured). `spread`
    maps a constant to the range it takes within 5 % of the objective, over the sets of constants in `near`; `optima` are
    local optima up to twice the best; `draws` (bootstraps, constants) the resamples' constants in the order of
    `parameters`. `warnings` say what the runs do not settle.
    """

    family: str
    parameters: Mapping[str, Parameter]
    objective: float
    rms: float
    runs: int
    law: Law
    spread: Mapping[str, tuple[float, float]]
    near: tuple[Optimum, ...]
    optima: tuple[Optimum, ...]
    extrapolation: Extrapolation | None
    warnings: tuple[str, ...]
    draws: Array

    def predict_range(self, **x: Any) -> tuple[float, float]:
        """Lowest and highest loss at `x` (as `Law.predict` takes it) over the constants that fit nearly as well."""
        evaluate = FAMILIES[self.family].evaluate
        values = [float(evaluate(optimum.constants, {}, x)) for optimum in self.near]
        return min(values), max(values)

    def to_json(self) -> dict[str, Any]:
        """Everything but the draws, in plain JSON types."""
        return {
            "schema_version": 1,
            "family": self.family,
            "runs": self.runs,
            "parameters": {name: p.to_json() for name, p in self.parameters.items()},
            "objective": self.objective,
            "rms": self.rms,
            "spread": {name: [_finite(v) for v in ends] for name, ends in self.spread.items()},
            "optima": [optimum.to_json() for optimum in self.optima],
            "extrapolation": None if self.extrapolation is None else self.extrapolation.to_json(),
            "warnings": list(self.warnings),
        }


def _finite(value: float) -> float | None:
    """JSON has no infinity: a constant beyond a float's range is None."""
    return value if isfinite(value) else None
