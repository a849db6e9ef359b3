"""Each family of loss law: its terms, the grid over its exponents, and its constants as printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forescale.fit.loss._forms import (
    Columns,
    Form,
    Logs,
    Term,
    formula_form,
    grid,
    log_coefficients,
    make_logs,
    positive,
    sum_form,
)
from forescale.fit.loss._posynomial import Power
from forescale.fit.loss._varpro import Linear

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

EXPONENTS = (0.03, 1.5)  # searched; every published loss law lies within
POINTS = 20  # an axis of the usual grid
SMALL = 8  # an axis where there are many


def make_form(family: str, columns: Columns, loss: Array, *, raw: bool = False) -> Form:
    """The family of that name on these runs."""
    return FORMS[family](columns, loss, raw)


def _axis(points: int = POINTS, low: float = EXPONENTS[0], high: float = EXPONENTS[1]) -> Array:
    import numpy as np

    return np.geomspace(low, high, points)


def _none() -> dict[str, Array]:
    return {}


def _exp(x: Any) -> Any:
    import numpy as np

    return np.exp(x)


def _additive(columns: Columns, loss: Array, raw: bool) -> Form:
    logs = make_logs(columns, ("params", "tokens"), loss, raw=raw)
    terms = [
        Term(coefficient="E", features=_none()),
        Term(coefficient="A", features={"alpha": -logs.x["params"]}),
        Term(coefficient="B", features={"beta": -logs.x["tokens"]}),
    ]

    def constants(t: dict[str, Array]) -> dict[str, Array]:
        return _powers(t, logs, {"A": ("alpha", "params"), "B": ("beta", "tokens")}) | {"E": _exp(t["E"])}

    return sum_form("additive", logs, terms, {"alpha": _axis(), "beta": _axis()}, constants)


def _powers(t: dict[str, Any], logs: Logs, of: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Coefficients and exponents of x^-exponent terms, moved back from the centre."""
    made: dict[str, Any] = {}
    for coefficient, (exponent, variable) in of.items():
        made[coefficient] = _exp(t[coefficient] + t[exponent] * logs.mean[variable])
        made[exponent] = t[exponent]
    return made


def _experts(columns: Columns, loss: Array, raw: bool) -> Form:
    logs = make_logs(columns, ("params", "active_params", "tokens"), loss, raw=raw)
    of = {"A": ("alpha", "active_params"), "G": ("gamma", "params"), "B": ("beta", "tokens")}
    terms = [Term(coefficient="E", features=_none())]
    terms += [Term(coefficient=c, features={e: -logs.x[v]}) for c, (e, v) in of.items()]
    axes = {e: _axis(SMALL) for e, _ in of.values()}
    return sum_form("experts", logs, terms, axes, lambda t: _powers(t, logs, of) | {"E": _exp(t["E"])})


def _over_training(columns: Columns, loss: Array, raw: bool) -> Form:
    """M^eta C^-eta = (C N / D)^-eta, M^-eta C^-eta = (C D / N)^-eta: an additive law with one exponent."""
    import numpy as np

    ratio = columns["tokens"] / columns["params"]
    made = {"first": columns["compute"] / ratio, "second": columns["compute"] * ratio}
    logs = make_logs(made, ("first", "second"), loss, raw=raw)
    terms = [
        Term(coefficient="E", features=_none()),
        Term(coefficient="a", features={"eta": -logs.x["first"]}),
        Term(coefficient="b", features={"eta": -logs.x["second"]}),
    ]

    def constants(t: dict[str, Array]) -> dict[str, Array]:
        a, b = (np.exp(t[c] + t["eta"] * logs.mean[v]) for c, v in (("a", "first"), ("b", "second")))
        return {"E": np.exp(t["E"]), "a": a, "b": b, "eta": t["eta"]}

    return sum_form("over-training", logs, terms, {"eta": _axis(60, 0.01, 1.0)}, constants)


def _sparse(columns: Columns, loss: Array, raw: bool) -> Form:
    import numpy as np

    logs = make_logs(columns, ("nonzero_params", "tokens"), loss, raw=raw)
    dense = np.log1p(-columns["sparsity"])
    terms = [
        Term(coefficient="c", features=_none()),
        Term(coefficient="a_S", features={"b_S": dense, "b_N": -logs.x["nonzero_params"]}),
        Term(coefficient="c_S", features={"b_N": -logs.x["nonzero_params"]}),
        Term(coefficient="e", features={"b_D": -logs.x["tokens"]}),
    ]

    def constants(t: dict[str, Array]) -> dict[str, Array]:
        moved = t["b_N"] * logs.mean["nonzero_params"]
        made = {"a_S": np.exp(t["a_S"] + moved), "c_S": np.exp(t["c_S"] + moved), "c": np.exp(t["c"])}
        # (a_D / D)^b_D = e (D / mean)^-b_D
        made["a_D"] = np.exp(t["e"] / t["b_D"] + logs.mean["tokens"])
        return made | {name: t[name] for name in ("b_S", "b_N", "b_D")}

    axes = {"b_S": _axis(10, 0.1, 4.0), "b_N": _axis(10), "b_D": _axis(10)}
    return sum_form("sparse", logs, terms, axes, constants)


def _skaling(columns: Columns, loss: Array, raw: bool) -> Form:
    """Linear in A and B once E and k are fixed: (L - E)^(1/k) is their sum."""
    import numpy as np

    logs = make_logs(columns, ("params", "tokens"), loss, raw=raw)
    lowest = float(loss.min())
    shares = np.array([0.01, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    axes = {"alpha": _axis(10), "beta": _axis(10), "k": np.geomspace(0.1, 2.0, 8), "E": shares}

    def linear(exponents: Array) -> Linear:
        alpha, beta, k, share = (exponents[:, i, None] for i in range(4))
        basis = np.exp(np.stack([-alpha * logs.x["params"], -beta * logs.x["tokens"]], axis=1))
        rest = loss - share * lowest
        scale = k * rest / (1.0 if raw else loss)
        return Linear(basis=basis, target=rest ** (1 / k), scale=scale)

    def join(exponents: Array, coefficients: Array) -> Array:
        E = np.log(exponents[:, 3:] * lowest)
        return np.concatenate([E, log_coefficients(coefficients, loss), exponents[:, :3]], axis=1)

    def constants(theta: Any) -> dict[str, Any]:
        t: dict[str, Any] = dict(zip(("E", "A", "B", "alpha", "beta", "k"), theta.T, strict=True))
        made = _powers(t, logs, {"A": ("alpha", "params"), "B": ("beta", "tokens")})
        return {**made, "E": np.exp(t["E"]), "k": t["k"]}

    one, none = np.ones_like(loss), np.zeros_like(loss)
    first = np.stack([none, one, none, -logs.x["params"], none, none], axis=1)
    second = np.stack([none, none, one, none, -logs.x["tokens"], none], axis=1)
    model = Power(np.stack([first, second]), np.zeros((2, 1)), power=5, floor=0, raw=raw)
    return Form(
        family="skaling", model=model, exponents=grid(axes), grid_names=tuple(axes), linear=linear, join=join,
        constants=constants, shape=(3, 4, 5), positive=positive("skaling"),
    )  # fmt: skip


def _kaplan(columns: Columns, loss: Array, raw: bool) -> Form:
    """Linear in N_c^q and D_c once q = alpha_N / alpha_D and alpha_D are fixed: L^(1 / alpha_D) is their sum."""
    import numpy as np

    logs = make_logs(columns, ("params", "tokens"), loss, raw=raw)
    axes = {"ratio": np.geomspace(0.1, 10, POINTS), "alpha_D": _axis(POINTS, 0.01, 1.0)}

    def linear(exponents: Array) -> Linear:
        q, k = exponents[:, :1], exponents[:, 1:]
        with np.errstate(over="ignore"):
            basis = np.stack(np.broadcast_arrays(np.exp(-q * logs.x["params"]), np.exp(-logs.x["tokens"])), axis=1)
            scale = k * np.ones_like(loss) * (loss if raw else 1.0)
            return Linear(basis=basis, target=loss ** (1 / k), scale=scale)

    def join(exponents: Array, coefficients: Array) -> Array:
        # Logarithms of the two terms' shares in the loss, at the centre.
        return np.concatenate([np.log(np.maximum(coefficients, 1e-9)), exponents], axis=1)

    def constants(theta: Any) -> dict[str, Any]:
        first, second, q, k = theta.T
        N_c = np.exp(first / q + logs.mean["params"])
        return {"N_c": N_c, "D_c": np.exp(second + logs.mean["tokens"]), "alpha_N": q * k, "alpha_D": k}

    one, none = np.ones_like(loss), np.zeros_like(loss)
    offset = np.stack([none, -logs.x["tokens"]])
    designs = np.stack(
        [np.stack([one, none, -logs.x["params"], none], axis=1), np.stack([none, one, none, none], axis=1)]
    )
    model = Power(designs, offset, power=3, floor=None, raw=raw)
    return Form(
        family="kaplan", model=model, exponents=grid(axes), grid_names=tuple(axes), linear=linear, join=join,
        constants=constants, shape=(2, 3), positive=positive("kaplan"),
    )  # fmt: skip


def _repeated(columns: Columns, loss: Array, raw: bool) -> Form:
    """Starts take the repeated tokens' worth from a grid of R_D and the parameters at full worth."""
    import numpy as np

    logs = make_logs(columns, ("params", "tokens"), loss, raw=raw)
    unique = np.minimum(columns["unique_tokens"], columns["tokens"])
    repeats = columns["tokens"] / unique - 1
    axes = {
        "alpha": _axis(SMALL), "beta": _axis(SMALL), "R_D": np.geomspace(1, 60, 6), "R_N": np.geomspace(1, 60, 4),
    }  # fmt: skip

    def linear(exponents: Array) -> Linear:
        alpha, beta, R_D = (exponents[:, i, None] for i in range(3))
        worth = np.log(unique * (1 + R_D * -np.expm1(-repeats / R_D))) - logs.mean["tokens"]
        ones = np.ones((len(exponents), len(loss)))
        basis = np.stack([ones, np.exp(-alpha * logs.x["params"]), np.exp(-beta * worth)], axis=1)
        return Linear(basis=basis, target=logs.target(len(exponents)), scale=logs.scale(len(exponents)))

    def join(exponents: Array, coefficients: Array) -> Array:
        return np.concatenate(
            [log_coefficients(coefficients, loss), exponents[:, :2], np.log(exponents[:, 2:])], axis=1
        )

    def constants(theta: Any) -> dict[str, Any]:
        t: dict[str, Any] = dict(zip(("E", "A", "B", "alpha", "beta", "R_D", "R_N"), theta.T, strict=True))
        made = _powers(t, logs, {"A": ("alpha", "params"), "B": ("beta", "tokens")})
        return {**made, **{name: np.exp(t[name]) for name in ("E", "R_D", "R_N")}}

    return formula_form(
        "repeated", logs, columns, axes, names=tuple(axes), linear=linear, join=join, constants=constants,
        shape=(3, 4, 5, 6), curved=True,
    )  # fmt: skip


def _farseer(columns: Columns, loss: Array, raw: bool) -> Form:
    """Starts near the additive law: slopes of ln E, ln B and ln beta in ln N, bent by powers g."""
    import numpy as np

    logs = make_logs(columns, ("params", "tokens"), loss, raw=raw)
    z, d, mean = logs.x["params"], logs.x["tokens"], logs.mean
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(600, 7))
    low = np.array([np.log(0.1), -0.15, 0.02, -0.3, -0.3, -0.15, -0.3])
    high = np.array([np.log(1.0), 0.1, 0.3, 0.1, 0.3, 0.0, 0.3])
    starts = low + draws * (high - low)

    def bent(slope: Any, power: Any, at: Any) -> Any:
        return slope * np.expm1(power * at) / power

    def linear(exponents: Array) -> Linear:
        s0, s1, g1, s2, g2, s3, g3 = (exponents[:, i, None] for i in range(7))
        beta = np.exp(s0 + bent(s1, g1, z))
        basis = np.stack([np.exp(bent(s3, g3, z)), np.exp(bent(s2, g2, z) - beta * d)], axis=1)
        return Linear(basis=basis, target=logs.target(len(exponents)), scale=logs.scale(len(exponents)))

    def join(exponents: Array, coefficients: Array) -> Array:
        return np.concatenate([exponents, log_coefficients(coefficients, loss)], axis=1)

    def constants(theta: Any) -> dict[str, Any]:
        s0, s1, g1, s2, g2, s3, g3, e, b = theta.T
        # D is not centred in the law: what centring takes from the coefficient at the mean N, slope and level give back.
        level = b + np.exp(s0) * mean["tokens"]
        slope = s2 + np.exp(s0) * s1 * mean["tokens"]
        made: dict[str, Any] = {}
        for i, s, g, at in ((1, s1, g1, s0), (2, slope, g2, level), (3, s3, g3, e)):
            made |= {f"a{i}": s / g * np.exp(-g * mean["params"]), f"g{i}": g, f"b{i}": at - s / g}
        return made

    return formula_form(
        "farseer", logs, columns, starts, names=(), linear=linear, join=join,
        constants=constants, shape=(1, 2, 3, 4, 5, 6), curved=False,
    )  # fmt: skip


FORMS: dict[str, Callable[[Columns, Any, bool], Form]] = {
    "additive": _additive,
    "experts": _experts,
    "farseer": _farseer,
    "kaplan": _kaplan,
    "over-training": _over_training,
    "repeated": _repeated,
    "skaling": _skaling,
    "sparse": _sparse,
}
