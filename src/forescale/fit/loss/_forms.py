"""The families of loss laws as the fitter sees them: centred, with logarithms of coefficients, and where to start.

Inside, θ holds logarithms of coefficients at the runs' geometric mean, which makes them nearly independent of the
exponents; `constants` gives them as the law prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.loss._posynomial import Formula, Sum
from forescale.fit.loss._varpro import Linear
from forescale.laws._families import FAMILIES

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array, Model

Columns = Mapping[str, Any]
LEAST = 1e-9  # of the loss: a coefficient below is 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """One family on one table of runs.

    `exponents` (S, Q) is the grid over the nonlinear constants `grid_names` and `linear` the problem that is left there;
    `join` makes θ of exponents and coefficients; `constants` turns θ (R, P) into the law's constants, each (R,).
    `positive` are the constants whose uncertainty is that of their logarithm.
    """

    family: str
    model: Model
    exponents: Array
    grid_names: tuple[str, ...]
    linear: Callable[[Array], Linear]
    join: Callable[[Array, Array], Array]
    constants: Callable[[Array], dict[str, Array]]
    shape: tuple[int, ...]  # of θ: the columns that are exponents
    positive: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of parameters fitted."""
        return len(FAMILIES[self.family].constants)


@dataclass(frozen=True, kw_only=True, eq=False)
class Logs:
    """Centred logarithms of the inputs, the loss, and what the residuals are measured in."""

    x: Mapping[str, Array]
    mean: Mapping[str, float]
    loss: Array
    raw: bool

    def target(self, size: int) -> Array:
        """The loss for each of `size` exponents."""
        import numpy as np

        return np.repeat(self.loss[None], size, axis=0)

    def scale(self, size: int) -> Array:
        """What a relative error of the loss is as a residual."""
        import numpy as np

        return self.target(size) if self.raw else np.ones((size, len(self.loss)))


def make_logs(columns: Columns, names: Sequence[str], loss: Array, *, raw: bool) -> Logs:
    """Centre the logarithms of `names`."""
    import numpy as np

    logs = {name: np.log(columns[name]) for name in names}
    mean = {name: float(v.mean()) for name, v in logs.items()}
    return Logs(x={name: v - mean[name] for name, v in logs.items()}, mean=mean, loss=loss, raw=raw)


@dataclass(frozen=True, kw_only=True, eq=False)
class Term:
    """A coefficient times exp of features weighted by exponents: exponent's name -> feature (n,)."""

    coefficient: str
    features: Mapping[str, Array]


def sum_form(
    family: str,
    logs: Logs,
    terms: Sequence[Term],
    axes: Mapping[str, Array],
    constants: Callable[[dict[str, Array]], dict[str, Array]],
) -> Form:
    """A loss that is a sum of terms: coefficients first in θ, then the exponents `axes`."""
    import numpy as np

    order = [t.coefficient for t in terms] + list(axes)
    designs = np.zeros((len(terms), len(logs.loss), len(order)))
    for j, term in enumerate(terms):
        designs[j, :, j] = 1.0
        for name, feature in term.features.items():
            designs[j, :, order.index(name)] += feature
    K = len(terms)

    def linear(exponents: Array) -> Linear:
        with np.errstate(over="ignore"):
            basis = np.exp(np.stack([exponents @ X[:, K:].T for X in designs], axis=1))
        S = len(exponents)
        return Linear(basis=basis, target=logs.target(S), scale=logs.scale(S))

    def join(exponents: Array, coefficients: Array) -> Array:
        return np.concatenate([log_coefficients(coefficients, logs.loss), exponents], axis=1)

    def unpack(theta: Array) -> dict[str, Array]:
        return constants({name: theta[:, i] for i, name in enumerate(order)})

    return Form(
        family=family,
        model=Sum(designs, raw=logs.raw),
        exponents=grid(axes),
        grid_names=tuple(axes),
        linear=linear,
        join=join,
        constants=unpack,
        shape=tuple(range(K, len(order))),
        positive=positive(family),
    )


def grid(axes: Mapping[str, Array]) -> Array:
    """Every combination of the axes' values (S, Q)."""
    import numpy as np

    mesh = np.meshgrid(*axes.values(), indexing="ij")
    return np.stack([m.ravel() for m in mesh], axis=1)


def formula_form(
    family: str,
    logs: Logs,
    columns: Columns,
    axes: Mapping[str, Array] | Array,
    *,
    names: tuple[str, ...],
    linear: Callable[[Array], Linear],
    join: Callable[[Array, Array], Array],
    constants: Callable[[Any], dict[str, Any]],
    shape: tuple[int, ...],
    curved: bool,
) -> Form:
    """A loss that is whatever `forescale.laws` computes from the constants."""
    x = {name: columns[name] for name in FAMILIES[family].inputs or ()}

    def loss(theta: Any) -> Any:
        made = {name: value[:, None] for name, value in constants(theta).items()}
        return FAMILIES[family].evaluate(made, {}, x)

    return Form(
        family=family,
        model=Formula(loss=loss, raw=logs.raw, curved=curved),
        exponents=grid(axes) if isinstance(axes, Mapping) else axes,
        grid_names=names,
        linear=linear,
        join=join,
        constants=constants,
        shape=shape,
        positive=positive(family),
    )


def positive(family: str) -> tuple[str, ...]:
    """Coefficients, told by their upper case; E may be 0 and is kept as it is."""
    names = FAMILIES[family].constants
    if family == "farseer":
        return ()
    return tuple(n for n in names if n in ("A", "B", "G", "a", "b", "N_c", "D_c", "R_D", "R_N", "a_D", "a_S", "c_S"))


def log_coefficients(coefficients: Array, loss: Array) -> Array:
    """Logarithms of centred coefficients; one that is 0 starts small enough not to matter and free to grow."""
    import numpy as np

    return np.log(np.maximum(coefficients, LEAST * float(loss.min())))
