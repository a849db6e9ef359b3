"""One predicted quantity of a law: its formula, its constants and how well they are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws._families import FAMILIES, Variables, minimum

SYMBOLS = {
    "params": "N",
    "active_params": "N_active",
    "nonzero_params": "N_nz",
    "tokens": "D",
    "compute": "C",
    "loss": "L",
    "batch_tokens": "B",
    "tokens_per_param": "(D/N)",
    "flops_per_token": "F",
    "width": "width",
    "sparsity": "S",
    "active_share": "(N_active/N)",
}


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A quantity as a function of workload variables. Constants are as printed; units convert on the way in and out.

    `input_units` says in how many of our units one unit of the paper's input is (params in millions: 1e6);
    `unit_size` the same for the output (sequences of 2048 tokens: 2048). `maximum` (in our unit) is where the paper
    caps the value. `caution` is a factor on the estimated optimum, below 1 where missing high costs more than missing low; the
    uncertainty is the estimate's. `covariance` is over `covariance_of`: names of constants or exponents, `log X` for a
    constant's logarithm. `intervals` maps a constant or exponent to a
    published 80 % interval, used where no covariance is known.
    """

    quantity: str
    family: str
    constants: Mapping[str, float]
    exponents: Mapping[str, float] = field(default_factory=dict[str, float])
    input_units: Mapping[str, float] = field(default_factory=dict[str, float])
    unit: str = ""
    unit_size: float = 1.0
    maximum: float | None = None
    caution: float = 1.0
    evidence: str = "primary"
    unverified: tuple[str, ...] = ()
    note: str = ""
    covariance_of: tuple[str, ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables the formula needs; a `ratio` also needs each at the reference run, and the quantity there."""
        names = FAMILIES[self.family].inputs
        own = tuple(self.exponents) if names is None else names
        if self.family != "ratio":
            return own
        return (*own, *(f"reference_{n}" for n in own), f"reference_{self.quantity}")

    def evaluate(self, x: Variables) -> Any:
        """The quantity at `x` (floats or arrays) in our unit; raise `ForescaleError` naming missing inputs."""
        missing = [n for n in self.inputs if x.get(n) is None]
        if missing:
            raise ForescaleError(f"{self.quantity} needs {', '.join(missing)}, which this workload does not give.")
        scaled = {n: x[n] / self.input_units[n] for n in self.input_units if n in x}
        value = FAMILIES[self.family].evaluate(self.constants, self.exponents, {**x, **scaled})
        if self.family == "ratio":
            value = value * x[f"reference_{self.quantity}"]
        value = value * (self.unit_size * self.caution)
        return value if self.maximum is None else minimum(value, self.maximum)

    def log_sd(self, x: Variables) -> float | None:
        """Standard deviation of the logarithm of the value from the constants' uncertainty; None where unpublished."""
        try:
            sd = self._log_sd(x)
        except (ArithmeticError, ValueError) as error:
            if isinstance(error, ForescaleError):
                raise
            sd = math.inf
        if sd is not None and not sd <= MOST_LOG_SD:
            raise ForescaleError(
                f"the uncertainty of {self.quantity} spans more than a factor of {math.exp(MOST_LOG_SD):.0e} here: check "
                "the law's covariance or intervals, or name another law."
            )
        return sd

    def _log_sd(self, x: Variables) -> float | None:
        base = float(self.evaluate(x))
        if self.covariance:
            g = [self._slope(name, x, base) for name in self.covariance_of]
            variance = sum(
                a * s * b for a, row in zip(g, self.covariance, strict=True) for s, b in zip(row, g, strict=True)
            )
            return math.sqrt(max(variance, 0.0))
        if self.intervals:
            variance = 0.0
            for name, (low, high) in self.intervals.items():
                ends = [float(self._with(name, v).evaluate(x)) for v in (low, high)]
                variance += (math.log(max(ends) / min(ends)) / 2 / Z80) ** 2
            return math.sqrt(variance)
        return None

    def text(self) -> str:
        """The formula as printed, with its constants and cap."""
        cautious = "" if self.caution == 1 else f", x {self.caution:.3g} for caution"
        capped = "" if self.maximum is None else f", at most {self.maximum:.4g}"
        return f"{self._plain()}{cautious}{capped}"

    def _plain(self) -> str:
        powers = " ".join(f"{SYMBOLS.get(n, n)}^{e:+.4g}" for n, e in self.exponents.items())
        if self.family == "power":
            return f"{self.constants['coefficient']:.4g} {powers}".strip()
        if self.family == "ratio":
            scaled = " ".join(
                f"({SYMBOLS.get(n, n)}/{SYMBOLS.get(n, n)}_ref)^{e:+.4g}" for n, e in self.exponents.items()
            )
            return f"{self.quantity}_ref {scaled}".strip()
        if self.family in ("log-linear", "exp-log-linear"):
            terms = " ".join(f"{e:+.4g} ln {SYMBOLS.get(n, n)}" for n, e in self.exponents.items())
            inner = f"{self.constants['intercept']:.4g} {terms}"
            return f"exp({inner})" if self.family.startswith("exp") else inner
        values = ", ".join(f"{n} = {v:.4g}" for n, v in self.constants.items())
        return "; ".join(part for part in (FAMILIES[self.family].formula, values) if part)

    def _slope(self, name: str, x: Variables, base: float) -> float:
        """Derivative of ln value in one constant, by a central difference."""
        step = 1e-5 * max(abs(self.theta(name)), 1.0)
        up, down = (float(self._with(name, self.theta(name) + s).evaluate(x)) for s in (step, -step))
        return (up - down) / (2 * step * base)

    def theta(self, name: str) -> float:
        """The constant or exponent that an uncertainty is stated of; `log X` is the logarithm of X."""
        if name.startswith("log "):
            return math.log(self.constants[name[4:]])
        return self.exponents[name] if name in self.exponents else self.constants[name]

    def _with(self, name: str, value: float) -> Formula:
        if name in self.exponents:
            return replace(self, exponents={**self.exponents, name: value})
        key, value = (name[4:], math.exp(value)) if name.startswith("log ") else (name, value)
        return replace(self, constants={**self.constants, key: value})


MOST_LOG_SD = 10.0  # of a value's logarithm: beyond, the law says nothing
Z80 = 1.2815515655446004  # half-width of a normal's central 80 % interval, in standard deviations
