"""Variable projection: with the exponents fixed, the coefficients are a linear problem, solved exactly and with signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

ROUNDS = 2  # of reweighting; the polish does the rest
CHUNK = 60_000  # numbers a basis may hold at once: what stays in a core's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Linear problems for exponents (S, Q): `basis` (S, K, n), summed with coefficients, should be `target` (S, n).

    `scale` (S, n) turns a relative error of the target into a residual of the model.
    """

    basis: Array
    target: Array
    scale: Array


def project(linear: Callable[[Array], Linear], exponents: Array, delta: float, *, rounds: int = ROUNDS) -> Array:
    """Non-negative coefficients (S, K) at every row of `exponents` (S, Q), by reweighted least squares."""
    import numpy as np

    first = linear(exponents[:1])
    step = max(1, CHUNK // max(1, first.basis[0].size))
    found = [_solve(linear(exponents[i : i + step]), delta, rounds) for i in range(0, len(exponents), step)]
    return np.concatenate(found)


def _solve(problem: Linear, delta: float, rounds: int) -> Array:
    import numpy as np

    with np.errstate(all="ignore"):
        rows = problem.basis * (problem.scale / problem.target)[:, None]
        b = problem.scale
        size = np.sqrt(np.einsum("skn,skn->sk", rows, rows))
        size = np.where((size > 0) & np.isfinite(size), size, 1.0)
        rows /= size[..., None]
        rows[~np.isfinite(rows)] = 0.0
        across = np.swapaxes(rows, 1, 2)
        weights = np.ones_like(b)
        coefficients = np.zeros_like(size)
        for _ in range(rounds):
            weighted = rows * weights[:, None]
            coefficients = nonnegative(weighted @ across, (weighted @ b[..., None])[..., 0])
            r = np.abs((coefficients[:, None] @ rows)[:, 0] - b)
            weights = delta / np.maximum(r, delta)
    return coefficients / size


def nonnegative(G: Array, h: Array) -> Array:
    """Minimisers (S, K) of c'Gc / 2 - h'c over c >= 0: every set of positive coefficients is tried, for K is small."""
    import numpy as np

    K = h.shape[1]
    best = _restricted(G, h, tuple(range(K)))
    open_ = np.flatnonzero(~(best >= 0).all(axis=1))
    if not len(open_):
        return best
    lowest = np.zeros(len(open_))
    chosen = np.zeros((len(open_), K))
    for size in range(K - 1, 0, -1):
        for kept in combinations(range(K), size):
            c = _restricted(G[open_], h[open_], kept)
            value = -(h[open_] * c).sum(axis=1) / 2
            take = (c >= 0).all(axis=1) & (value < lowest)
            lowest = np.where(take, value, lowest)
            chosen = np.where(take[:, None], c, chosen)
    best[open_] = chosen
    return best


def _restricted(G: Array, h: Array, kept: tuple[int, ...]) -> Array:
    """The minimiser with every other coefficient 0."""
    import numpy as np

    index = np.array(kept)
    system = G[:, index[:, None], index]
    trace = np.einsum("skk->s", system)[:, None, None]
    system = system + (1e-14 * trace + 1e-300) * np.eye(len(kept))
    c = np.zeros_like(h)
    try:
        c[:, index] = np.linalg.solve(system, h[:, index, None])[..., 0]
    except np.linalg.LinAlgError:  # a basis with equal columns: share by the smallest norm
        c[:, index] = (np.linalg.pinv(system) @ h[:, index, None])[..., 0]
    return np.where(np.isfinite(c), c, -1.0)
