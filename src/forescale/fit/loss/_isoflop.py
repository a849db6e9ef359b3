"""Compute-optimal allocation from iso-FLOP sets: by a law of all the runs, beside a parabola of each budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.loss._budgets import NEAR, Shelf, find_shelves, keep_near
from forescale.fit.loss._columns import LossColumns, check_columns, family_name, loss_columns
from forescale.fit.loss._fit import LossFit, Parameter
from forescale.fit.loss._isoflop_values import Allocation, Budget, IsoFlops, Powers
from forescale.fit.loss._law import draw_groups, fit_columns
from forescale.runs import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.loss._robust import Array, Flags

FAMILIES = ("skaling", "additive")  # both fall with A N^-alpha + B D^-beta, so their optimum is the same closed form
FARTHEST = 7.0  # in ln N, beyond the sizes trained
SURE = 0.9  # share of the resamples in which a budget must have an optimum for its interval to mean something


@dataclass(frozen=True, kw_only=True, eq=False)
class _Optimum:
    """ln N of a budget's lowest point by one method, of the runs and of the resamples (R,); NaN where there is none."""

    value: float
    draws: Array


def fit_isoflops(
    runs: Runs | Mapping[str, Any],
    family: str = "skaling",
    *,
    near: float = NEAR,
    groups: Any = "params",
    delta: float = 1e-3,
    bootstraps: int = 1000,
    seed: int = 0,
) -> IsoFlops:
    """The compute-optimal allocation of every budget in `runs` (params, tokens, loss; compute tells budgets apart).

    The law (skaling, or additive, which it contains) is fitted to all runs within the share `near` of the lowest loss at
    their compute; the parabola is of the loss in ln N of the same runs, one budget at a time (approach 2 of 2203.15556).
    The bootstrap draws `groups` of runs, for both methods; runs of one size are one group unless said otherwise, since
    they may be checkpoints of one run. Raises `ForescaleError` if no budget has four sizes.
    """
    name = family_name(family)
    if name not in FAMILIES:
        raise ForescaleError(f"iso-FLOP optima are read off the laws {' and '.join(FAMILIES)}; got {family!r}.")
    if not near > 0:
        raise ForescaleError(
            f"near, the share of loss above the lowest that still counts, must be above 0; got {near:g}."
        )
    columns = loss_columns(runs, name, groups)
    shelves, assumed = find_shelves(columns)
    columns, shelves, left = keep_near(columns, shelves, near)
    check_columns(columns, name)
    fit = fit_columns(_numbered(columns), name, delta=delta, bootstraps=bootstraps, seed=seed)
    drawn = draw_groups(columns.groups, bootstraps, seed)
    law = [_by_law(shelf, fit) for shelf in shelves]
    parabola = [_by_parabola(shelf, drawn[:, shelf.groups]) for shelf in shelves]
    own = [_by_parabola(_with_law(shelf, fit)) for shelf in shelves]
    budgets = tuple(_budget(*each) for each in zip(shelves, law, parabola, own, strict=True))
    seen = [i for i, b in enumerate(budgets) if b.parabola is not None and b.parabola.edge == "inside"]
    return IsoFlops(
        budgets=budgets,
        law=_powers(shelves, law, range(len(shelves))),
        parabola=_powers(shelves, parabola, seen),
        parabola_bias=_exponent_bias(shelves, law, own, seen),
        fit=fit,
        warnings=(*fit.warnings, *assumed, *left, *_warnings(budgets)),
    )


def closed_form(*, A: Any, B: Any, alpha: Any, beta: Any, scale: float, trade: float = 1.0) -> Any:
    """Params that minimise A N^-alpha + B D^-beta where D = `scale` N^-`trade` (2203.15556, Eq. 4, for trade 1)."""
    return (alpha * A * scale**beta / (trade * beta * B)) ** (1 / (alpha + trade * beta))


def _numbered(columns: LossColumns) -> LossColumns:
    """Groups counted from 0 without a gap, as the bootstrap draws them."""
    import numpy as np

    return replace(columns, groups=np.unique(columns.groups, return_inverse=True)[1])


def _by_law(shelf: Shelf, fit: LossFit) -> _Optimum:
    import numpy as np

    names = list(fit.parameters)
    wanted = ("A", "B", "alpha", "beta")
    values = closed_form(**{n: fit.parameters[n].value for n in wanted}, scale=shelf.scale, trade=shelf.trade)
    columns: dict[str, Any] = {n: fit.draws[:, names.index(n)] for n in wanted}
    with np.errstate(all="ignore"):
        draws = np.log(closed_form(**columns, scale=shelf.scale, trade=shelf.trade))
    return _Optimum(value=float(np.log(values)), draws=np.where(np.isfinite(draws), draws, np.nan))


def _with_law(shelf: Shelf, fit: LossFit) -> Shelf:
    """The same sizes with the law's own losses along the budget."""
    return replace(shelf, loss=fit.law.predict("loss", params=shelf.params, tokens=shelf.tokens_at(shelf.params)))


def _by_parabola(shelf: Shelf, counts: Array | None = None) -> _Optimum:
    """The vertex of loss over ln N, with every run counted once and, in the draws, as `counts` (R, n) say."""
    import numpy as np

    n = np.log(shelf.params)
    draws = np.full(1, np.nan) if counts is None else _vertices(n, shelf.loss, counts)
    draws = np.clip(draws, n.min() - FARTHEST, n.max() + FARTHEST)  # of a nearly flat parabola: no power may overflow
    return _Optimum(value=float(_vertices(n, shelf.loss, np.ones((1, len(n))))[0]), draws=draws)


def _vertices(n: Array, loss: Array, counts: Array) -> Array:
    """Lowest points (R,) of least-squares parabolas; NaN where one opens downward or has fewer than three sizes."""
    import numpy as np

    center, size = n.mean(), n.std()
    z = (n - center) / size
    X = np.stack([np.ones_like(z), z, z * z], axis=1)
    G = (counts @ (X[:, :, None] * X[:, None]).reshape(len(z), 9)).reshape(-1, 3, 3) + 1e-12 * np.eye(3)
    h: Array = (counts * (loss - loss.mean())) @ X
    c: Any = np.linalg.solve(G, h[..., None])[..., 0]
    told = (c[:, 2] > 0) & (_distinct(n, counts) >= X.shape[1])
    return np.where(told, center - size * c[:, 1] / (2 * np.where(told, c[:, 2], 1.0)), np.nan)


def _distinct(n: Array, counts: Array) -> NDArray[np.intp]:
    """How many different sizes each draw holds."""
    import numpy as np

    sizes, at = np.unique(n, return_inverse=True)
    return ((counts @ np.eye(len(sizes))[at]) > 0).sum(axis=1)


def _budget(shelf: Shelf, law: _Optimum, parabola: _Optimum, own: _Optimum) -> Budget:
    import numpy as np

    return Budget(
        shelf=shelf,
        law=_allocation(shelf, law),
        parabola=_allocation(shelf, parabola) if np.isfinite(parabola.value) else None,
        # tokens per parameter are N^-(1 + trade) along the budget
        bias=float(np.exp((1 + shelf.trade) * (law.value - own.value))),
        best=_edge(shelf, float(np.log(shelf.params[shelf.loss.argmin()]))),
    )


def _allocation(shelf: Shelf, found: _Optimum) -> Allocation:
    import numpy as np

    N, draws = float(np.exp(found.value)), np.asarray(np.exp(found.draws), dtype=float)
    D, drawn = shelf.tokens_at(N), shelf.tokens_at(draws)
    return Allocation(
        params=_parameter(N, draws),
        tokens=_parameter(D, drawn),
        tokens_per_param=_parameter(D / N, drawn / draws),
        edge=_edge(shelf, found.value),
    )


def _parameter(value: float, draws: Array) -> Parameter:
    """A value with the interval of the draws that have one; NaN where too few do."""
    import numpy as np

    fine = draws[np.isfinite(draws)]
    if len(fine) < SURE * len(draws) or len(fine) < 2:
        return Parameter(value=value, stderr=float("nan"), low=float("nan"), high=float("nan"))
    low, high = np.percentile(fine, (10, 90))
    return Parameter(value=value, stderr=float(fine.std(ddof=1)), low=float(low), high=float(high))


def _edge(shelf: Shelf, n: float) -> str:
    import numpy as np

    smallest, largest = (float(np.log(end)) for end in (shelf.params.min(), shelf.params.max()))
    return "smallest" if n <= smallest else "largest" if n >= largest else "inside"


def _powers(shelves: Sequence[Shelf], optima: Sequence[_Optimum], use: Sequence[int]) -> Powers | None:
    """Exponents of least-squares lines through the budgets in `use`, in the logarithms; None for fewer than two."""
    import numpy as np

    if len(use) < 2:
        return None
    c = np.log([shelves[i].compute for i in use])
    value: Array = np.array([[optima[i].value for i in use]])
    draws: Array = np.stack([optima[i].draws for i in use], axis=1)
    scale = np.log([shelves[i].scale for i in use])
    trade = np.array([shelves[i].trade for i in use])
    kinds = {"params": (0.0, 1.0), "tokens": (scale, -trade), "tokens_per_param": (scale, -1 - trade)}  # of ln N
    made = {
        name: _parameter(float(_slopes(c, level + slope * value)[0]), _slopes(c, level + slope * draws))
        for name, (level, slope) in kinds.items()
    }
    return Powers(**made, budgets=len(use))


def _slopes(x: Array, y: Array) -> Array:
    """Slopes (R,) of y (R, m) over x (m,) where y has a value; NaN for fewer than two."""
    import numpy as np

    there: Flags = np.isfinite(y)
    weight = there.astype(float)
    count = np.maximum(weight.sum(axis=1), 1.0)
    level = np.where(there, y, 0.0)
    z = x - (weight @ x / count)[:, None]
    with np.errstate(all="ignore"):
        return (weight * z * level).sum(axis=1) / (weight * z * z).sum(axis=1)


def _exponent_bias(
    shelves: Sequence[Shelf], law: Sequence[_Optimum], own: Sequence[_Optimum], use: Sequence[int]
) -> float | None:
    """What the parabolas of the law's own losses add to its exponent of N*, over the budgets of the parabola's."""
    exact, read = (_powers(shelves, side, use) for side in (law, own))
    return None if exact is None or read is None else read.params.value - exact.params.value


def _warnings(budgets: Sequence[Budget]) -> Iterator[str]:
    """Budgets whose optimum was not seen, and those where the two methods do not agree."""
    parabolas = [(b, b.parabola) for b in budgets if b.parabola is not None]
    found: dict[str, list[Budget]] = {
        "the best run is the smallest or largest size": [b for b in budgets if b.best != "inside"],
        "the law puts the optimum beyond the sizes trained": [b for b in budgets if b.law.edge != "inside"],
        "the parabola opens downward, so it has no optimum": [b for b in budgets if b.parabola is None],
        "the parabola puts the optimum beyond the sizes trained": [b for b, p in parabolas if p.edge != "inside"],
        "fewer than 90 % of the resamples have a parabola with an optimum, so it has no interval": [
            b for b, p in parabolas if isnan(p.params.low)
        ],
        "law and parabola disagree by more than their intervals and the parabola's bias": [
            b for b, p in parabolas if _disagree(b.law.tokens_per_param, p.tokens_per_param, b.bias)
        ],
    }
    for text, where in found.items():
        if where:
            listed = "every budget" if len(where) == len(budgets) else ", ".join(f"{b.compute:.3g}" for b in where)
            yield f"{text} at {listed}{' FLOPs' if len(where) < len(budgets) else ''}"
    if len(budgets) == 1:
        yield "one budget says nothing of how the optimum grows with compute: no exponents"


def _disagree(law: Parameter, parabola: Parameter, bias: float) -> bool:
    return parabola.low / bias > law.high or parabola.high / bias < law.low  # never where an interval is NaN
