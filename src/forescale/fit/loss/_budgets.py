"""Iso-FLOP sets: which runs share a compute budget, and how tokens trade for parameters in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.fit.loss._columns import LossColumns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.loss._robust import Array

SAME_BUDGET = 0.1  # budgets whose compute differs by less are one
WIDEST = 1.5  # highest over lowest compute of one budget; runs farther apart are a grid or learning curves
MOST = 0.5  # of the runs must be in budgets, or they are no iso-FLOP set
LEAST_SIZES = 4  # of a budget: one more than a parabola has coefficients
NEAR = 0.1  # of the loss: runs farther above their budget's lowest say little of where it lies, and no law fits them
STEP = 2.0  # between budgets that are read off curves
TRADES = (0.5, 2.0)  # what tokens may cost in parameters at equal compute; 1 where C = 6 N D
READ_OFF = (
    "few runs share a compute budget with three other sizes, so losses at equal compute are read off between the token "
    "counts of each size, "
    "which is right for runs of their own and for checkpoints at a constant learning rate, not for those of a decay"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """The runs of one budget: params, tokens, loss and groups of the bootstrap (n,); compute in FLOPs.

    Along the budget tokens are `scale` params^-`trade`, by least squares on the runs: C / (6 N) where C = 6 N D, and
    otherwise as the budget counts attention and embeddings.
    """

    compute: float
    params: Array
    tokens: Array
    loss: Array
    groups: Any
    scale: float
    trade: float

    def tokens_at(self, params: Any) -> Any:
        """Tokens that the budget buys at that size."""
        return self.scale * params**-self.trade

    def parabola(self, params: Any) -> Any:
        """Loss at those sizes by the least-squares parabola in ln N."""
        import numpy as np

        center = float(np.log(self.params).mean())
        c: Any = np.polyfit(np.log(self.params) - center, self.loss, 2)
        n: Any = np.log(params) - center
        return c[0] * n * n + c[1] * n + c[2]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Curve:
    """One size at several token counts, ascending."""

    params: float
    tokens: Array
    loss: Array
    group: int

    def reaches(self, product: float) -> bool:
        return bool(self.tokens[0] <= product / self.params <= self.tokens[-1])

    def loss_at(self, tokens: float) -> float:
        """Straight between measured points, in the logarithms."""
        import numpy as np

        at = np.array([np.log(tokens)])
        return float(np.exp(np.interp(at, np.log(self.tokens), np.log(self.loss))[0]))


def find_shelves(columns: LossColumns) -> tuple[tuple[Shelf, ...], tuple[str, ...]]:
    """Budgets by ascending compute, and what was assumed to find them.

    Runs of equal compute are a budget if they have four sizes. Where most runs are in none, losses at equal compute are
    read off the sizes that were measured at several token counts. Raises `ForescaleError` where neither gives four sizes.
    """
    clusters = _clusters(columns)
    if sum(len(shelf.loss) for shelf in clusters) >= MOST * len(columns.loss):
        return clusters, ()
    if found := _read_off(columns):
        return found, (READ_OFF,)
    if clusters:
        return clusters, ()
    raise ForescaleError(
        f"{columns.source} has no compute budget with four sizes: an iso-FLOP set needs several sizes at equal compute, "
        "or each size at several token counts."
    )


def keep_near(
    columns: LossColumns, shelves: tuple[Shelf, ...], near: float
) -> tuple[LossColumns, tuple[Shelf, ...], tuple[str, ...]]:
    """Only the runs within the share `near` of the lowest loss at their compute; budgets without four sizes go."""
    import numpy as np

    floor = np.interp(
        np.log(columns.compute), np.log([s.compute for s in shelves]), np.log([s.loss.min() for s in shelves])
    )
    kept = np.flatnonzero(columns.loss <= (1 + near) * np.exp(floor))
    left = [_nearest(shelf, near) for shelf in shelves]
    there = tuple(shelf for shelf in left if len(np.unique(shelf.params)) >= LEAST_SIZES)
    if not there:
        raise ForescaleError(
            f"no compute budget of {columns.source} has four sizes within {100 * near:g} % of its lowest loss: add sizes "
            "near the optimum."
        )
    notes = [
        f"{len(columns.loss) - len(kept)} runs more than {100 * near:g} % above the lowest loss at their compute are left out"
    ]
    lost = [shelf.compute for shelf, rest in zip(shelves, left, strict=True) if rest not in there]
    if lost:
        notes.append(f"budgets with fewer than four sizes near the lowest loss are left out: {_listed(lost)} FLOPs")
    return columns.part(kept), there, tuple(notes[len(kept) == len(columns.loss) :])


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _nearest(shelf: Shelf, near: float) -> Shelf:
    import numpy as np

    at = np.flatnonzero(shelf.loss <= (1 + near) * shelf.loss.min())
    return replace(
        shelf, params=shelf.params[at], tokens=shelf.tokens[at], loss=shelf.loss[at], groups=shelf.groups[at]
    )


def _clusters(columns: LossColumns) -> tuple[Shelf, ...]:
    import numpy as np

    label = _numbered(columns.compute)
    N, D, C = columns.x["params"], columns.x["tokens"], columns.compute
    members = [np.flatnonzero(label == i) for i in range(int(label.max()) + 1)]
    made = [
        _shelf(float(np.exp(np.log(C[at]).mean())), N[at], D[at], columns.loss[at], columns.groups[at])
        for at in members
        if len(np.unique(N[at])) >= LEAST_SIZES and C[at].max() <= WIDEST * C[at].min()
    ]
    return tuple(shelf for shelf in made if shelf is not None)


def _numbered(compute: Array) -> NDArray[np.intp]:
    """Numbers of the budgets, ascending: a new one starts where compute jumps."""
    import numpy as np

    order = np.argsort(compute)
    jump = np.diff(np.log(compute[order]), prepend=np.log(compute[order[0]])) > np.log1p(SAME_BUDGET)
    label = np.empty(len(compute), dtype=np.intp)
    label[order] = np.cumsum(jump)
    return label


def _shelf(compute: float, N: Array, D: Array, loss: Array, groups: Any) -> Shelf | None:
    """A budget of these runs; None where tokens do not fall about as parameters grow: that is no equal compute."""
    import numpy as np

    slope, level = (float(v) for v in np.polyfit(np.log(N), np.log(D), 1))
    if not TRADES[0] <= -slope <= TRADES[1]:
        return None
    return Shelf(
        compute=compute, params=N, tokens=D, loss=loss, groups=groups, scale=float(np.exp(level)), trade=-slope
    )


def _read_off(columns: LossColumns) -> tuple[Shelf, ...]:
    """Budgets a factor of two apart wherever four sizes reach."""
    import numpy as np

    curves = _curves(columns)
    if len(curves) < LEAST_SIZES:
        return ()
    low = min(float(c.params * c.tokens[0]) for c in curves)
    high = max(float(c.params * c.tokens[-1]) for c in curves)
    steps = int(np.log(high / low) / np.log(STEP))
    made = [_read_one(curves, low * STEP**i) for i in range(1, steps + 1)]
    return tuple(shelf for shelf in made if shelf is not None)


def _read_one(curves: list[_Curve], product: float) -> Shelf | None:
    import numpy as np

    there = [c for c in curves if c.reaches(product)]
    if len(there) < LEAST_SIZES:
        return None
    N = np.array([c.params for c in there])
    loss = np.array([c.loss_at(product / c.params) for c in there])
    return _shelf(6 * product, N, product / N, loss, np.array([c.group for c in there]))


def _curves(columns: LossColumns) -> list[_Curve]:
    """Sizes with at least two token counts; of runs at the same one the lowest loss."""
    import numpy as np

    made: list[_Curve] = []
    for size in np.unique(columns.x["params"]):
        at = np.flatnonzero(columns.x["params"] == size)
        at = at[np.lexsort((columns.loss[at], columns.x["tokens"][at]))]
        tokens, first = np.unique(columns.x["tokens"][at], return_index=True)
        if len(tokens) > 1:
            loss = columns.loss[at][first]
            made.append(_Curve(params=float(size), tokens=tokens, loss=loss, group=int(columns.groups[at[0]])))
    return made
