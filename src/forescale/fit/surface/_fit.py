"""Fit the surface: robust, with priors, a shift for each cell, and every cell left out once in the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.fit.loss._robust import minimise
from forescale.fit.surface._model import NAMES, SIZE, evaluate
from forescale.fit.surface._prior import prior
from forescale.fit.surface._sweep import Sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.surface._model import Array

NOISE = 0.003  # of ln loss: runs repeat and the formula holds to about this near the optimum (facts: 0.10 to 0.17 %)
FAR_NOISE = 0.05  # of the gap: runs far from the optimum scatter more
CELL = 0.003  # of ln loss: what the runs of one cell have in common beyond the formula
DELTA = 2.0  # standard deviations: beyond, a run (or a prior) pulls no harder
STARTS = 4
SPREAD = 0.3  # of the priors' deviations, between starts
BATCH = 20_000_000  # numbers that the derivatives of one batch of fits may hold
LEAST_SCALE, MOST_SCALE = 0.3, 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """A model's value (R, n) and derivatives (R, P, n), as the robust minimiser wants them."""

    value: Array
    slopes: Array

    def pull(self, v: Array) -> Array:
        """Sum of v (R, n) times the gradients: (R, P)."""
        return (self.slopes @ v[:, :, None])[:, :, 0]

    def gram(self, v: Array) -> Array:
        """Sum of v (R, n) times the gradients' outer products: (R, P, P)."""
        return (self.slopes * v[:, None]) @ self.slopes.transpose(0, 2, 1)

    def curve(self, v: Array) -> None:
        """The second derivatives are left out: Gauss and Newton's step converges in some ten rounds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """ln loss of each run over its noise, then each parameter over its prior's deviation; parameters end in cells."""

    points: Array
    member: Array  # (cells, n): 1 where a run is of a cell
    noise: Array
    spread: Array  # of parameters and of the cells' shifts

    def value(self, theta: Array) -> Array:
        """Residual units: (R, n + P)."""
        import numpy as np

        at = evaluate(theta[:, :SIZE], self.points)
        value = at.log_level + at.log_gap + theta[:, SIZE:] @ self.member
        return np.concatenate([value / self.noise, theta / self.spread], axis=1)

    def parts(self, theta: Array) -> Slopes:
        """The same with derivatives."""
        import numpy as np

        at = evaluate(theta[:, :SIZE], self.points, gradient=True)
        assert at.gradient is not None
        value = at.log_level + at.log_gap + theta[:, SIZE:] @ self.member
        runs = len(self.noise)
        slopes = np.zeros((*theta.shape, runs + theta.shape[1]))
        slopes[:, :SIZE, :runs] = at.gradient / self.noise
        slopes[:, SIZE:, :runs] = self.member / self.noise
        slopes[:, :, runs:] = np.diag(1 / self.spread)
        return Slopes(value=np.concatenate([value / self.noise, theta / self.spread], axis=1), slopes=slopes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """The fit of all cells, its covariance (held coefficients have none), and the fits without each cell."""

    theta: Array  # (P,)
    covariance: Array  # (P, P)
    noise_scale: float  # the runs' noise in units of what was assumed
    cost: float
    left_out: Array  # (cells, P)


def solve(sweep: Sweep, *, seed: int = 0) -> Solution:
    """Fit all cells from several starts, set the noise by the residuals, fit again, then leave each cell out."""
    import numpy as np

    means, spread = prior(sweep.reference.params, sweep.reference.tokens)
    free = np.array([name not in sweep.held for name in NAMES])
    model, y = _posterior(sweep, means, spread, 1.0)
    size = len(model.spread)
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(STARTS, SIZE)) * SPREAD * spread * free
    moves[0] = 0.0
    start = np.zeros((STARTS, size))
    start[:, :SIZE] = means + moves
    moving = np.concatenate([free, np.ones(size - SIZE, dtype=bool)])
    theta, _ = _best(model, y, start, moving)
    scale = _noise_scale(model, y, theta)
    model, y = _posterior(sweep, means, spread, scale)
    theta, cost = _best(model, y, theta[None], moving)
    return Solution(
        theta=theta[:SIZE],
        covariance=_covariance(model, y, theta, moving),
        noise_scale=scale,
        cost=cost,
        left_out=_left_out(model, y, theta, moving),
    )


def noise(log_gap: Array) -> Array:
    """Standard deviation of ln loss of a run that lies `log_gap` above the lowest of its workload."""
    import numpy as np

    return np.hypot(NOISE, FAR_NOISE * log_gap)


def _posterior(sweep: Sweep, means: Array, spread: Array, scale: float) -> tuple[Posterior, Array]:
    import numpy as np

    used = sweep.trained
    cells, cell = np.unique(sweep.cell[used], return_inverse=True)
    model = Posterior(
        points=sweep.points[:, used],
        member=(np.arange(len(cells))[:, None] == cell).astype(float),
        noise=noise(sweep.log_gap[used]) * scale,
        spread=np.concatenate([spread, np.full(len(cells), CELL)]),
    )
    believed = np.concatenate([means, np.zeros(len(cells))]) / model.spread
    return model, np.concatenate([sweep.log_loss[used] / model.noise, believed])


def _best(model: Posterior, y: Array, start: Array, moving: NDArray[np.bool_]) -> tuple[Array, float]:
    import numpy as np

    weights, free = np.ones((len(start), len(y))), np.tile(moving, (len(start), 1))
    theta, costs = minimise(model, y, start, weights, DELTA, free=free, tolerance=1e-10)
    return theta[costs.argmin()], float(costs.min())


def _noise_scale(model: Posterior, y: Array, theta: Array) -> float:
    """Median absolute residual over what a normal one would have, within bounds."""
    import numpy as np

    residual = (model.value(theta[None])[0] - y)[: len(model.noise)]
    spare = max(1 - float(len(theta)) / len(residual), 0.25)  # a fit with few runs to spare flatters itself
    return float(np.clip(1.4826 * np.median(np.abs(residual)) / np.sqrt(spare), LEAST_SCALE, MOST_SCALE))


def _covariance(model: Posterior, y: Array, theta: Array, moving: NDArray[np.bool_]) -> Array:
    """Inverse of the reweighted Gauss-Newton matrix, cells' shifts included and then left out."""
    import numpy as np

    parts = model.parts(theta[None])
    weights = np.minimum(1.0, DELTA / np.maximum(np.abs(parts.value - y), 1e-300))
    system = parts.gram(weights)[0]
    full = np.zeros_like(system)
    full[np.ix_(moving, moving)] = np.linalg.inv(system[np.ix_(moving, moving)])
    return full[:SIZE, :SIZE]


def _left_out(model: Posterior, y: Array, theta: Array, moving: NDArray[np.bool_]) -> Array:
    """Parameters fitted without each cell, from the fit of all."""
    import numpy as np

    runs = len(model.noise)
    weights = np.ones((len(model.member), len(y)))
    weights[:, :runs] -= model.member
    step = max(1, BATCH // (len(y) * len(theta)))
    found = [
        minimise(
            model,
            y,
            np.tile(theta, (len(part), 1)),
            part,
            DELTA,
            free=np.tile(moving, (len(part), 1)),
            tolerance=1e-7,
        )[0]
        for part in np.split(weights, range(step, len(weights), step))
    ]
    return np.concatenate(found)[:, :SIZE]
