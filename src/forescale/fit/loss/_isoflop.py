"""Compute-optimal tokens per parameter from iso-FLOP sets: by a law of all the runs, beside a parabola of each budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.loss._columns import loss_columns
from forescale.fit.loss._fit import LossFit
from forescale.fit.loss._law import fit_loss_law, resample_counts
from forescale.runs import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.loss._robust import Array, Flags

SAME_BUDGET = 0.1  # budgets whose compute differs by less are one
LEAST_RUNS = 4  # of a budget: one more than a parabola has coefficients


@dataclass(frozen=True, kw_only=True)
class IsoFlopOptimum:
    """The optimum tokens per parameter of one budget (FLOPs), with 80 % intervals, by law and by parabola.

    `bias` is what the parabola makes of the law's own losses at the same sizes, over the law's optimum: 1.2 means that
    the parabola asks for 20 % too many tokens per parameter without any noise. `inside` is whether the parabola opens
    upward and has its lowest point within the sizes that were trained; the parabola's fields are NaN where it opens down.
    """

    compute: float
    runs: int
    tokens_per_param: float
    low: float
    high: float
    parabola: float
    parabola_low: float
    parabola_high: float
    bias: float
    inside: bool


@dataclass(frozen=True, kw_only=True)
class IsoFlops:
    """The optima by ascending budget, and the additive law behind them."""

    optima: tuple[IsoFlopOptimum, ...]
    fit: LossFit


def fit_isoflops(
    runs: Runs | Mapping[str, Any], *, delta: float = 1e-3, bootstraps: int = 1000, seed: int = 0
) -> IsoFlops:
    """Optimum tokens per parameter of every budget in `runs` (params, tokens, loss; budgets are told apart by compute).

    The law is Chinchilla's additive one, fitted to all runs; the parabola is of the loss in ln N, one budget at a time
    (approach 2 of 2203.15556). Raises `ForescaleError` if no budget has four runs.
    """
    import numpy as np

    columns = loss_columns(runs, "additive", None)
    fit = fit_loss_law(runs, "additive", delta=delta, bootstraps=bootstraps, seed=seed)
    label = _budgets(columns.compute)
    groups = [np.flatnonzero(label == i) for i in range(int(label.max()) + 1)]
    groups = [g for g in groups if len(np.unique(columns.x["params"][g])) >= LEAST_RUNS]
    if not groups:
        raise ForescaleError("no compute budget has four sizes: an iso-FLOP set needs several sizes at equal compute.")
    N, D = columns.x["params"], columns.x["tokens"]
    optima = [_optimum(N[g], D[g], columns.loss[g], columns.compute[g], fit, bootstraps, seed) for g in groups]
    return IsoFlops(optima=tuple(optima), fit=fit)


def _budgets(compute: Array) -> NDArray[np.intp]:
    """Numbers of the budgets, ascending: a new one starts where compute jumps."""
    import numpy as np

    order = np.argsort(compute)
    jump = np.diff(np.log(compute[order]), prepend=np.log(compute[order[0]])) > np.log1p(SAME_BUDGET)
    label = np.empty(len(compute), dtype=np.intp)
    label[order] = np.cumsum(jump)
    return label


def _optimum(N: Array, D: Array, L: Array, C: Array, fit: LossFit, bootstraps: int, seed: int) -> IsoFlopOptimum:
    import numpy as np

    product = float(np.exp(np.mean(np.log(N * D))))
    best = closed_form(*(p.value for p in fit.parameters.values()), product=product)
    ratios = closed_form(*fit.draws.T, product=product)
    low, high = np.nanpercentile(ratios, (10, 90))
    n = np.log(N)
    ones = np.ones((1, len(n)))
    vertex, curved = _vertices(n, L, ones)
    own = fit.law.predict("loss", params=N, tokens=product / N)
    bias, _ = _vertices(n, own, ones)
    drawn, fine = _vertices(n, L, resample_counts(np.arange(len(n)), bootstraps, seed))
    usable = product / np.exp(2 * drawn[fine])
    ends = np.percentile(usable, (10, 90)) if curved[0] and len(usable) else (np.nan, np.nan)
    return IsoFlopOptimum(
        compute=float(np.exp(np.mean(np.log(C)))),
        runs=len(n),
        tokens_per_param=float(best),
        low=float(low),
        high=float(high),
        parabola=float(product / np.exp(2 * vertex[0])) if curved[0] else float("nan"),
        parabola_low=float(ends[0]),
        parabola_high=float(ends[1]),
        bias=float(product / np.exp(2 * bias[0]) / best),
        inside=bool(curved[0] and n.min() < vertex[0] < n.max()),
    )


def closed_form(E: Any, A: Any, B: Any, alpha: Any, beta: Any, *, product: float) -> Any:
    """Tokens per parameter that minimise the additive law where N D = `product` (2203.15556, Eq. 4)."""
    del E  # moves every loss alike
    N = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * product ** (beta / (alpha + beta))
    return product / N**2


def _vertices(n: Array, L: Array, counts: Array) -> tuple[Array, Flags]:
    """Lowest points (R,) of parabolas in n under run counts (R, m), and whether each opens upward."""
    import numpy as np

    center, size = n.mean(), n.std()
    z = (n - center) / size
    X = np.stack([np.ones_like(z), z, z * z], axis=1)
    squares = (X[:, :, None] * X[:, None]).reshape(len(z), 9)
    G = (counts @ squares).reshape(-1, 3, 3) + 1e-12 * np.eye(3)
    h: Array = (counts * (L - L.mean())) @ X
    c: Any = np.linalg.solve(G, h[..., None])[..., 0]
    up: Flags = c[:, 2] > 0
    return np.where(up, center - size * c[:, 1] / (2 * np.where(up, c[:, 2], 1.0)), np.nan), up
