"""Huber's loss minimised for many parameter vectors at once, by damped Newton steps.

With a threshold far below the residuals, as loss laws are fitted, Huber's loss is nearly absolute: reweighting alone
converges slowly, and Newton's step knows which runs lie inside the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

TOLERANCE = 1e-13  # relative decrease of the cost at which a vector rests
MOST_DAMPING = 1e9
FLOOR = 1e-300
BLOCK = 48_000  # residuals at a time: what stays in a core's cache


class Parts(Protocol):
    """A model at parameter vectors (R, P): its value (R, n) and weighted sums over the runs of its derivatives."""

    @property
    def value(self) -> Array:
        """The modelled quantity."""
        ...

    def pull(self, v: Array) -> Array:
        """Sum of v (R, n) times the gradients: (R, P)."""
        ...

    def gram(self, v: Array) -> Array:
        """Sum of v (R, n) times the gradients' outer products: (R, P, P)."""
        ...

    def hessian(self, v: Array, w: Array) -> Array | None:
        """Sum of v (R, n) times the gradients' outer products and w times the second derivatives: (R, P, P).

        None where second derivatives cost more than they save.
        """
        ...


class Model(Protocol):
    """Residual-ready model: value alone, or value with derivatives, at parameter vectors (R, P)."""

    def value(self, theta: Array) -> Array:
        """The modelled quantity (R, n): the log loss, or the loss."""
        ...

    def parts(self, theta: Array) -> Parts:
        """The same with derivatives."""
        ...


def huber(r: Array, delta: float) -> Array:
    """Huber's loss of residuals: r² / 2 within `delta`, linear beyond."""
    import numpy as np

    a = np.abs(r)
    inner = np.minimum(a, delta)
    return inner * (a - inner / 2)


def cost(value: Array, y: Array, weights: Array, delta: float) -> Array:
    """Weighted sum of Huber's losses per parameter vector (R,); infinite where the model has no value."""
    import numpy as np

    total = np.einsum("rn,rn->r", weights, huber(value - y, delta))
    return np.where(np.isfinite(total), total, np.inf)


def minimise(
    model: Model,
    y: Array,
    start: Array,
    weights: Array,
    delta: float,
    *,
    free: Flags | None = None,
    rounds: int = 300,
    tolerance: float = TOLERANCE,
) -> tuple[Array, Array]:
    """Parameter vectors and costs from `start` (R, P) under run weights (R, n); `free` (R, P) marks what may move."""
    import numpy as np

    what = Descent(model=model, y=y, delta=delta, weights=weights, held=None if free is None else ~free)
    size = max(1, BLOCK // len(y))
    blocks = [slice(i, i + size) for i in range(0, len(start), size)]
    found = [_descend(what.part(block), start[block].copy(), rounds, tolerance) for block in blocks]
    return np.concatenate([theta for theta, _ in found]), np.concatenate([costs for _, costs in found])


@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """What is minimised, for some parameter vectors: weights (R, n), and which parameters are held (R, P)."""

    model: Model
    y: Array
    delta: float
    weights: Array
    held: Flags | None

    def part(self, rows: Any) -> Descent:
        """The same for some of the vectors."""
        return replace(self, weights=self.weights[rows], held=None if self.held is None else self.held[rows])

    def cost(self, theta: Array) -> Array:
        """Weighted sums of Huber's losses (R,)."""
        return cost(self.model.value(theta), self.y, self.weights, self.delta)


def _descend(what: Descent, theta: Array, rounds: int, tolerance: float) -> tuple[Array, Array]:
    """Damped Newton steps, each vector for itself; where one climbs, the reweighted Gauss-Newton step."""
    import numpy as np

    damping = np.full(len(theta), 1e-4)
    with np.errstate(all="ignore"):
        costs = what.cost(theta)
        moving = np.flatnonzero(np.isfinite(costs))
        for _ in range(rounds):
            if not len(moving):
                break
            old, lam = costs[moving], damping[moving]
            ends, best, promise = _move(what.part(moving), theta[moving], old, lam)
            better = best < old
            theta[moving] = np.where(better[:, None], ends, theta[moving])
            costs[moving] = np.where(better, best, old)
            damping[moving] = np.clip(np.where(better, lam / 8, lam * 16), 1e-14, 2 * MOST_DAMPING)
            resting = better & (old - best <= tolerance * old) | ~better & (lam > MOST_DAMPING)
            resting |= ~better & (promise <= tolerance * old)  # at the optimum but for rounding
            moving = moving[~resting]
    return theta, costs


def _move(what: Descent, theta: Array, old: Array, damping: Array) -> tuple[Array, Array, Array]:
    """Ends of the steps, their costs, and the decrease that they promised (R,)."""
    import numpy as np

    step, promise, newton = _step(what, theta, damping, newton=True)
    ends = theta - step
    costs = what.cost(ends)
    if newton and len(worse := np.flatnonzero(~(costs < old))):
        rest = what.part(worse)
        step, other, _ = _step(rest, theta[worse], damping[worse], newton=False)
        ends[worse] = theta[worse] - step
        costs[worse] = rest.cost(ends[worse])
        promise[worse] = np.maximum(promise[worse], other)
    return ends, costs, promise


def _step(what: Descent, theta: Array, damping: Array, *, newton: bool) -> tuple[Array, Array, bool]:
    """A damped step, the decrease that it promises, and whether it is Newton's: the model has second derivatives."""
    import numpy as np

    parts = what.model.parts(theta)
    r = parts.value - what.y
    size = np.abs(r)
    psi = what.weights * np.clip(r, -what.delta, what.delta)
    gradient = parts.pull(psi)
    second = parts.hessian(what.weights * (size <= what.delta), psi) if newton else None
    newton = second is not None
    if second is None:
        second = parts.gram(what.weights * np.minimum(1.0, what.delta / np.maximum(size, FLOOR)))
    scale = np.abs(np.einsum("rpp->rp", second))
    ridge = np.eye(theta.shape[1]) * (damping[:, None] * scale + FLOOR)[:, None, :]
    step = _solve(second + ridge, gradient, scale, what.held)
    return step, np.abs((gradient * step).sum(axis=1)), newton


def _solve(H: Array, gradient: Array, scale: Array, held: Flags | None) -> Array:
    """H⁻¹ g in units where the diagonal of the matrix is 1 or -1; held parameters do not move."""
    import numpy as np

    unit = 1 / np.sqrt(np.maximum(scale, FLOOR))
    system, b = H * unit[:, :, None] * unit[:, None, :], gradient * unit
    if held is not None:
        system = np.where(held[:, :, None] | held[:, None, :], np.eye(b.shape[1]), system)
        b = np.where(held, 0.0, b)
    system = np.where(np.isfinite(system), system, 0.0) + 1e-15 * np.eye(b.shape[1])
    try:
        return np.linalg.solve(system, b[..., None])[..., 0] * unit
    except np.linalg.LinAlgError:  # one singular system in the batch
        return (np.linalg.pinv(system, rcond=1e-12, hermitian=True) @ b[..., None])[..., 0] * unit
