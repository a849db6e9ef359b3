"""The optimum of a loss law's form: grid, exact coefficients, polish; and what is nearly as good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.fit.loss._forms import Form
from forescale.fit.loss._posynomial import Sum
from forescale.fit.loss._robust import cost, minimise
from forescale.fit.loss._varpro import project

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.loss._robust import Array

NEAR = 0.05  # of the objective: parameters within are as good as the best, for all the runs say
ALIKE = 1e-6  # of the objective: optima that differ by less are one
LOCAL = 2.0  # times the best objective: worse local optima are not worth telling
MOVES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 1.0)  # of an exponent, up and down, the others refitted
EDGE = 1.02
FIRST = 15  # rounds for every start: Newton's step needs 5 to 10 from a good one
FINISHED = 1e-9  # of the cost: starts this close after them have met


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The best θ (P,) with its mean Huber loss, distinct local optima (best first), and exponents at the grid's edge."""

    theta: Array
    objective: float
    optima: tuple[tuple[Array, float], ...]
    edges: tuple[str, ...]


def search(form: Form, y: Array, delta: float) -> Found:
    """Minimise the mean Huber loss of `y` (the log loss, or the loss) over every constant of the form."""
    import numpy as np

    start = _starts(form, y, delta)
    theta, costs = minimise(form.model, y, start, np.ones((len(start), len(y))), delta, rounds=FIRST)
    open_ = _distinct(costs)
    theta[open_], costs[open_] = minimise(form.model, y, theta[open_], np.ones((len(open_), len(y))), delta)
    theta, costs = theta[open_], costs[open_]
    order = np.argsort(costs)
    optima: list[tuple[Array, float]] = []
    for i in order[np.isfinite(costs[order])]:
        if not optima or optima[-1][1] * (1 + ALIKE) < costs[i] / len(y) <= LOCAL * optima[0][1]:
            optima.append((theta[i], float(costs[i] / len(y))))
    best = optima[0][0]
    return Found(theta=best, objective=optima[0][1], optima=tuple(optima), edges=_edges(form, best))


def _distinct(costs: Array) -> NDArray[np.intp]:
    """Indices, best first, of the starts worth finishing: none that another has reached or that has got nowhere."""
    import numpy as np

    order = np.argsort(costs)
    ranked = costs[order]
    apart = np.diff(ranked, prepend=-np.inf) > FINISHED * ranked
    return order[apart & (ranked <= LOCAL * ranked[0])]


def _starts(form: Form, y: Array, delta: float) -> Array:
    """The best points of the grid, and some of the lesser ones in case the best share a valley that is not deepest."""
    import numpy as np

    full = form.join(form.exponents, project(form.linear, form.exponents, delta))
    ones = np.ones((1, len(y)))
    with np.errstate(all="ignore"):
        step = max(1, 2_000_000 // len(y))
        costs = np.concatenate(
            [cost(form.model.value(part), y, ones.repeat(len(part), axis=0), delta) for part in _chunks(full, step)]
        )
    order = np.argsort(costs)
    kept = 4 if isinstance(form.model, Sum) else 12
    lesser = order[kept : max(len(order) // 4, kept + 1)]
    chosen = np.concatenate([order[:kept], lesser[:: max(1, len(lesser) // kept)][:kept]])
    return full[chosen[np.isfinite(costs[chosen])]]


def _chunks(a: Array, step: int) -> list[Array]:
    return [a[i : i + step] for i in range(0, len(a), step)]


def _edges(form: Form, theta: Array) -> tuple[str, ...]:
    import numpy as np

    with np.errstate(all="ignore"):
        made = form.constants(theta[None])
    found: list[str] = []
    for i, name in enumerate(form.grid_names):
        if name in made and name not in ("E", "c"):
            low, high = float(form.exponents[:, i].min()), float(form.exponents[:, i].max())
            value = float(made[name][0])
            if value < low * EDGE or value > high / EDGE:
                found.append(
                    f"{name} = {value:.4g} lies at the edge of the values searched, {low:g} to {high:g}, or beyond"
                )
    return tuple(found)


def near_equal(form: Form, y: Array, found: Found, delta: float) -> tuple[Array, Array]:
    """Parameter vectors (M, P) and mean losses (M,) within 5 % of the best: each exponent moved, the rest refitted."""
    import numpy as np

    moves = np.array([m for size in MOVES for m in (1 + size, 1 / (1 + size))])
    start = np.repeat(found.theta[None], len(moves) * len(form.shape), axis=0)
    free = np.ones(start.shape, dtype=bool)
    for i, column in enumerate(form.shape):
        rows = slice(i * len(moves), (i + 1) * len(moves))
        start[rows, column] *= moves
        free[rows, column] = False
    ones = np.ones((len(start), len(y)))
    theta, costs = minimise(form.model, y, start, ones, delta, free=free, rounds=60, tolerance=1e-8)
    most = (1 + NEAR) * found.objective
    near = costs / len(y) <= most
    local = [(t, q) for t, q in found.optima if q <= most]
    vectors = np.concatenate([np.stack([t for t, _ in local]), theta[near]])
    return vectors, np.concatenate([[q for _, q in local], costs[near] / len(y)])


def condition(form: Form, y: Array, theta: Array) -> float:
    """Condition number of the parameters' information matrix in units of their own: infinite where one is idle."""
    import numpy as np

    gram = form.model.parts(theta[None]).gram(np.ones((1, len(y))))[0]
    unit = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-300))
    return float(np.linalg.cond(gram * unit[:, None] * unit))
