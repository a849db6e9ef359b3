"""Iso-FLOP optima as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forescale.fit.loss._budgets import Shelf
from forescale.fit.loss._fit import LossFit, Parameter


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The best params, tokens and tokens per parameter of a budget by one method; `edge` says where they lie.

    `edge` is "inside" the sizes trained, or beyond the "smallest" or "largest".
    """

    params: Parameter
    tokens: Parameter
    tokens_per_param: Parameter
    edge: str

    def to_json(self) -> dict[str, Any]:
        """The three numbers with intervals, and the edge."""
        numbers = {name: getattr(self, name).to_json() for name in ("params", "tokens", "tokens_per_param")}
        return {**numbers, "edge": self.edge}


@dataclass(frozen=True, kw_only=True, eq=False)
class Budget:
    """One compute budget (FLOPs): its runs, and its optimum by law and by parabola (None where that opens downward).

    `bias` is what the parabola makes of the law's own losses at the same sizes, over the law's optimum: 1.2 means that
    the parabola asks for 20 % too many tokens per parameter without any noise. `best` says where the lowest measured
    loss lies, as `Allocation.edge` does.
    """

    shelf: Shelf
    law: Allocation
    parabola: Allocation | None
    bias: float
    best: str

    @property
    def compute(self) -> float:
        """The budget in FLOPs."""
        return self.shelf.compute

    @property
    def seen(self) -> bool:
        """Whether the optimum was seen: the best run and both methods' optima lie inside the sizes trained."""
        return {self.best, self.law.edge, self.parabola.edge if self.parabola else "none"} == {"inside"}

    def to_json(self) -> dict[str, Any]:
        """Everything but the runs, in plain JSON types."""
        return {
            "compute": self.compute,
            "runs": len(self.shelf.loss),
            "smallest_params": float(self.shelf.params.min()),
            "largest_params": float(self.shelf.params.max()),
            "best_run": self.best,
            "optimum_seen": self.seen,
            "law": self.law.to_json(),
            "parabola": None if self.parabola is None else self.parabola.to_json(),
            "parabola_bias": self.bias,
        }


@dataclass(frozen=True, kw_only=True)
class Powers:
    """How the optimum grows with compute: exponents of N*, D* and D*/N* over the budgets used, by one method."""

    params: Parameter
    tokens: Parameter
    tokens_per_param: Parameter
    budgets: int

    def to_json(self) -> dict[str, Any]:
        """The exponents with intervals."""
        numbers = {name: getattr(self, name).to_json() for name in ("params", "tokens", "tokens_per_param")}
        return {**numbers, "budgets": self.budgets}


@dataclass(frozen=True, kw_only=True, eq=False)
class IsoFlops:
    """Budgets by ascending compute, the exponents by law and by parabola, and the law behind them.

    Exponents are None with fewer than two budgets to tell them from. `parabola_bias` is what the parabolas of the law's
    own losses add to the law's exponent of N*.
    """

    budgets: tuple[Budget, ...]
    law: Powers | None
    parabola: Powers | None
    parabola_bias: float | None
    fit: LossFit
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything but runs and draws, in plain JSON types."""
        return {
            "schema_version": 1,
            "budgets": [budget.to_json() for budget in self.budgets],
            "exponents": {
                "law": None if self.law is None else self.law.to_json(),
                "parabola": None if self.parabola is None else self.parabola.to_json(),
                "parabola_bias": self.parabola_bias,
            },
            "loss_law": self.fit.to_json(),
            "warnings": list(self.warnings),
        }
