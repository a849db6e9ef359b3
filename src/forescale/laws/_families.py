"""Formula families: what a law's constants mean. Each is a function of floats or arrays alike.

Variables (keys of `x`) are in the package's units: counts, tokens, FLOPs, nats per token, ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Constants = Mapping[str, float]
Variables = Mapping[str, Any]  # floats, or numpy arrays that broadcast
Evaluate = Callable[[Constants, Constants, Variables], Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One functional form: its constants, its inputs (None: the keys of `exponents`), its value, its formula."""

    constants: tuple[str, ...]
    inputs: tuple[str, ...] | None
    evaluate: Evaluate
    formula: str


def log(x: Any) -> Any:
    """Natural logarithm of a float or an array, without importing numpy for a float."""
    if isinstance(x, (int, float)):
        return math.log(x)
    import numpy as np

    return np.log(x)


def exp(x: Any) -> Any:
    """Exponential of a float or an array, without importing numpy for a float."""
    if isinstance(x, (int, float)):
        return math.exp(x)
    import numpy as np

    return np.exp(x)


def _power(c: Constants, exponents: Constants, x: Variables) -> Any:
    value: Any = c["coefficient"]
    for name, exponent in exponents.items():
        value = value * x[name] ** exponent
    return value


def _ratio(c: Constants, exponents: Constants, x: Variables) -> Any:
    value: Any = c.get("factor", 1.0)
    for name, exponent in exponents.items():
        value = value * (x[name] / x[f"reference_{name}"]) ** exponent
    return value


def _log_linear(c: Constants, exponents: Constants, x: Variables) -> Any:
    return c["intercept"] + sum(slope * log(x[name]) for name, slope in exponents.items())


def _exp_log_linear(c: Constants, exponents: Constants, x: Variables) -> Any:
    return exp(_log_linear(c, exponents, x))


def _half_life(_: Constants, __: Constants, x: Variables) -> Any:
    return x["reference_beta2"] ** (x["batch_tokens"] / x["reference_batch_tokens"])


def _additive(c: Constants, _: Constants, x: Variables) -> Any:
    return c["E"] + c["A"] / x["params"] ** c["alpha"] + c["B"] / x["tokens"] ** c["beta"]


def _experts(c: Constants, _: Constants, x: Variables) -> Any:
    active, total = c["A"] / x["active_params"] ** c["alpha"], c["G"] / x["params"] ** c["gamma"]
    return c["E"] + active + total + c["B"] / x["tokens"] ** c["beta"]


def _kaplan(c: Constants, _: Constants, x: Variables) -> Any:
    return ((c["N_c"] / x["params"]) ** (c["alpha_N"] / c["alpha_D"]) + c["D_c"] / x["tokens"]) ** c["alpha_D"]


def _repeated(c: Constants, _: Constants, x: Variables) -> Any:
    """Muennighoff et al. 2023 (2305.16264), Eqs. 5 and 6: repeated tokens and excess parameters lose value."""
    unique = minimum(x["unique_tokens"], x["tokens"])
    repeats = x["tokens"] / unique - 1
    tokens = unique + unique * c["R_D"] * (1 - exp(-repeats / c["R_D"]))
    # Parameters beyond those that are compute-optimal for the unique tokens (closed form at C = 6 N D) are in excess.
    G = (c["alpha"] * c["A"] / (c["beta"] * c["B"])) ** (1 / (c["alpha"] + c["beta"]))
    best = G * (unique * G) ** (c["beta"] / c["alpha"])
    base = minimum(best, x["params"])
    excess = x["params"] / base - 1
    params = base + base * c["R_N"] * (1 - exp(-excess / c["R_N"]))
    return c["E"] + c["A"] / params ** c["alpha"] + c["B"] / tokens ** c["beta"]


def _skaling(c: Constants, _: Constants, x: Variables) -> Any:
    return (c["A"] / x["params"] ** c["alpha"] + c["B"] / x["tokens"] ** c["beta"]) ** c["k"] + c["E"]


def _farseer(c: Constants, _: Constants, x: Variables) -> Any:
    N = x["params"]
    exponent = exp(c["a1"] * N ** c["g1"] + c["b1"])
    return exp(c["a3"] * N ** c["g3"] + c["b3"]) + exp(c["a2"] * N ** c["g2"] + c["b2"]) * x["tokens"] ** -exponent


def _sparse(c: Constants, _: Constants, x: Variables) -> Any:
    capacity = c["a_S"] * (1 - x["sparsity"]) ** c["b_S"] + c["c_S"]
    return capacity * x["nonzero_params"] ** -c["b_N"] + (c["a_D"] / x["tokens"]) ** c["b_D"] + c["c"]


def _over_training(c: Constants, _: Constants, x: Variables) -> Any:
    M = x["tokens"] / x["params"]
    return c["E"] + (c["a"] * M ** c["eta"] + c["b"] * M ** -c["eta"]) * x["compute"] ** -c["eta"]


def _compute_power(c: Constants, _: Constants, x: Variables) -> Any:
    return (x["compute"] / c["C_c"]) ** -c["alpha"] + c["E"]


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two floats, or of arrays element by element, without importing numpy for floats."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return min(a, b)
    import numpy as np

    return np.minimum(a, b)


_N_D = ("params", "tokens")
FAMILIES: dict[str, Family] = {
    "power": Family(constants=("coefficient",), inputs=None, evaluate=_power, formula="coefficient · Π x^exponent"),
    "ratio": Family(constants=(), inputs=None, evaluate=_ratio, formula="reference · Π (x / x_ref)^exponent"),
    "log-linear": Family(
        constants=("intercept",), inputs=None, evaluate=_log_linear, formula="intercept + Σ slope · ln x"
    ),
    "exp-log-linear": Family(
        constants=("intercept",), inputs=None, evaluate=_exp_log_linear, formula="exp(intercept + Σ slope · ln x)"
    ),
    "half-life": Family(
        constants=(),
        inputs=("batch_tokens", "reference_batch_tokens", "reference_beta2"),
        evaluate=_half_life,
        formula="beta2_ref^(B / B_ref)",
    ),
    "additive": Family(
        constants=("E", "A", "B", "alpha", "beta"),
        inputs=_N_D,
        evaluate=_additive,
        formula="E + A / N^alpha + B / D^beta",
    ),
    "experts": Family(
        constants=("E", "A", "B", "G", "alpha", "beta", "gamma"),
        inputs=(*_N_D, "active_params"),
        evaluate=_experts,
        formula="E + A / N_active^alpha + G / N^gamma + B / D^beta",
    ),
    "kaplan": Family(
        constants=("N_c", "D_c", "alpha_N", "alpha_D"),
        inputs=_N_D,
        evaluate=_kaplan,
        formula="[(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
    ),
    "repeated": Family(
        constants=("E", "A", "B", "alpha", "beta", "R_D", "R_N"),
        inputs=(*_N_D, "unique_tokens"),
        evaluate=_repeated,
        formula="E + A / N'^alpha + B / D'^beta; D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), N' alike",
    ),
    "skaling": Family(
        constants=("E", "A", "B", "alpha", "beta", "k"),
        inputs=_N_D,
        evaluate=_skaling,
        formula="(A / N^alpha + B / D^beta)^k + E",
    ),
    "farseer": Family(
        constants=("a1", "g1", "b1", "a2", "g2", "b2", "a3", "g3", "b3"),
        inputs=_N_D,
        evaluate=_farseer,
        formula="exp(a3 N^g3 + b3) + exp(a2 N^g2 + b2) D^(-exp(a1 N^g1 + b1))",
    ),
    "sparse": Family(
        constants=("a_S", "b_S", "c_S", "b_N", "a_D", "b_D", "c"),
        inputs=("sparsity", "nonzero_params", "tokens"),
        evaluate=_sparse,
        formula="(a_S (1 - S)^b_S + c_S) N_nz^-b_N + (a_D / D)^b_D + c",
    ),
    "over-training": Family(
        constants=("E", "a", "b", "eta"),
        inputs=(*_N_D, "compute"),
        evaluate=_over_training,
        formula="E + (a M^eta + b M^-eta) C^-eta, M = D / N",
    ),
    "compute-power": Family(
        constants=("C_c", "alpha", "E"), inputs=("compute",), evaluate=_compute_power, formula="(C / C_c)^-alpha + E"
    ),
}
