"""Huber's loss minimised for many parameter vectors at once, by damped Newton steps.

With a threshold far below the residuals, as loss laws are fitted, Huber's loss is nearly absolute: reweighting alone
converges slowly, and Newton's step knows which runs lie inside the threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

TOLERANCE = 1e-13  # relative decrease of the cost at which a vector rests
MOST_DAMPING = 1e9
FLOOR = 1e-300


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

    def curve(self, v: Array) -> Array | None:
        """Sum of v (R, n) times the second derivatives: (R, P, P); None where they cost more than they save."""
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

    theta, damping = start.copy(), np.full(len(start), 1e-4)
    with np.errstate(all="ignore"):
        costs = cost(model.value(theta), y, weights, delta)
        moving = np.flatnonzero(np.isfinite(costs))
        for _ in range(rounds):
            if not len(moving):
                break
            held = None if free is None else ~free[moving]
            steps, promise = _steps(model, y, theta[moving], weights[moving], delta, damping[moving], held)
            best, at = _best(model, y, theta[moving], weights[moving], delta, steps)
            old, lam = costs[moving], damping[moving]
            better = best < old
            theta[moving] = np.where(better[:, None], at, theta[moving])
            costs[moving] = np.where(better, best, old)
            damping[moving] = np.clip(np.where(better, lam / 8, lam * 16), 1e-14, 2 * MOST_DAMPING)
            resting = better & (old - best <= tolerance * old) | ~better & (lam > MOST_DAMPING)
            resting |= ~better & (promise <= tolerance * old)  # at the optimum but for rounding
            moving = moving[~resting]
    return theta, costs


def _steps(
    model: Model, y: Array, theta: Array, weights: Array, delta: float, damping: Array, held: Flags | None
) -> tuple[list[Array], Array]:
    """The reweighted Gauss-Newton step and Newton's, both damped, and the decrease that they promise (R,)."""
    import numpy as np

    parts = model.parts(theta)
    r = parts.value - y
    psi = weights * np.clip(r, -delta, delta)
    near = np.abs(r) <= delta
    gradient = parts.pull(psi)
    steady = parts.gram(weights * np.minimum(1.0, delta / np.maximum(np.abs(r), FLOOR)))
    scale = np.einsum("rpp->rp", steady)
    ridge = np.eye(theta.shape[1]) * (damping[:, None] * scale + FLOOR)[:, None, :]
    systems = [steady + ridge]
    if (curve := parts.curve(psi)) is not None:
        systems.append(parts.gram(weights * near) + curve + ridge)
    steps = [_solve(H, gradient, scale, held) for H in systems]
    return steps, np.max([np.abs((gradient * step).sum(axis=1)) for step in steps], axis=0)


def _solve(H: Array, gradient: Array, scale: Array, held: Flags | None) -> Array:
    """H⁻¹ g in units where the diagonal of the Gauss-Newton matrix is 1; held parameters do not move."""
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
        return np.linalg.solve(system + 1e-9 * np.eye(b.shape[1]), b[..., None])[..., 0] * unit


def _best(
    model: Model, y: Array, theta: Array, weights: Array, delta: float, steps: list[Array]
) -> tuple[Array, Array]:
    """The cheaper of the two steps for each vector: Newton's may climb, far from the optimum."""
    import numpy as np

    ends = [theta - step for step in steps]
    costs = np.stack([cost(model.value(end), y, weights, delta) for end in ends])
    chosen = costs.argmin(axis=0)
    rows = np.arange(len(theta))
    return costs[chosen, rows], np.stack(ends)[chosen, rows]
