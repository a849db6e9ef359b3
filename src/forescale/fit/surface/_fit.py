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
CELL = 0.003  # of ln loss: what the runs of one cell have in common beyond the formula; then set by cells left out
LEAST_CELL, MOST_CELL = 0.002, 0.03
NEAR = 0.05  # of ln loss: the runs by which a cell's level is judged
OPTIMUM = 0.08  # of ln lr and ln B: a cell's optimum about the law (Lingle's refit: 0.17 octaves, facts 2.5)
RATE_AT, BATCH_AT = NAMES.index("log_rate"), NAMES.index("log_batch")
DELTA = 2.0  # standard deviations: beyond, a run (or a prior) pulls no harder
STARTS = 3
FIRST = 30  # rounds for every start; the best of them goes on
FOLDS = 16  # at most: with more cells than this, several are left out together
SPREAD = 0.3  # of the priors' deviations, between starts
BATCH = 20_000_000  # numbers that the derivatives of one batch of fits may hold
LEAST_SCALE, MOST_SCALE = 0.3, 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """A model's value (R, n + P), as the robust minimiser wants it; derivatives of its runs (R, P, n), 1 / prior's width."""

    value: Array
    runs: Array
    priors: Array  # (P,): a parameter's row depends on it alone

    def pull(self, v: Array) -> Array:
        """Sum of v (R, n + P) times the gradients: (R, P)."""
        n = self.runs.shape[2]
        return (self.runs @ v[:, :n, None])[:, :, 0] + v[:, n:] * self.priors

    def gram(self, v: Array) -> Array:
        """Sum of v (R, n + P) times the gradients' outer products: (R, P, P)."""
        import numpy as np

        n = self.runs.shape[2]
        made = (self.runs * v[:, None, :n]) @ self.runs.transpose(0, 2, 1)
        at = np.arange(len(self.priors))
        made[:, at, at] += v[:, n:] * self.priors**2
        return made

    def hessian(self, v: Array, w: Array) -> None:
        """The second derivatives are left out: Gauss and Newton's step converges in some ten rounds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """ln loss of each run over its noise, then each parameter over its prior's deviation.

    A parameter vector is the surface's, then what each cell adds to its level, its best ln lr and its best ln B.
    """

    points: Array
    member: Array  # (cells, n): 1 where a run is of a cell
    noise: Array
    spread: Array  # of all parameters

    def value(self, theta: Array) -> Array:
        """Residual units: (R, n + P)."""
        return self._parts(theta, gradient=False)[0]

    def parts(self, theta: Array) -> Slopes:
        """The same with derivatives."""
        import numpy as np

        value, by_surface = self._parts(theta, gradient=True)
        assert by_surface is not None
        runs, cells = len(self.noise), len(self.member)
        slopes = np.zeros((*theta.shape, runs))
        slopes[:, :SIZE] = by_surface / self.noise
        for i, row in enumerate((None, RATE_AT, BATCH_AT)):
            at = SIZE + i * cells
            each = 1.0 if row is None else by_surface[:, row : row + 1]
            slopes[:, at : at + cells] = self.member * each / self.noise
        return Slopes(value=value, runs=slopes, priors=1 / self.spread)

    def _parts(self, theta: Array, *, gradient: bool) -> tuple[Array, Array | None]:
        import numpy as np

        level, rate, batch = (part @ self.member for part in np.split(theta[:, SIZE:], 3, axis=1))
        at = evaluate(theta[:, :SIZE], self.points, moved=(rate, batch), gradient=gradient)
        value = at.log_level + at.log_gap + level
        return np.concatenate([value / self.noise, theta / self.spread], axis=1), at.gradient


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """The fit of all cells, its covariance (of held coefficients too: their priors), and the fits without each cell."""

    theta: Array  # (P,)
    covariance: Array  # (P, P)
    noise_scale: float  # the runs' noise in units of what was assumed
    cell_error: float  # of ln loss: what a new cell is off by, beyond the covariance
    inflation: float  # by which errors on cells left out exceed the intervals' first reading
    cost: float
    left_out: Array  # (cells, P)


def solve(sweep: Sweep, *, seed: int = 0) -> Solution:
    """Fit all cells from several starts; set the noise by the residuals and the cells' error by leaving each one out."""
    import numpy as np

    means, spread = prior(sweep.reference.params, sweep.reference.tokens)
    free = np.array([name not in sweep.held for name in NAMES])
    first = make_problem(sweep, means, spread, free)
    rng = np.random.default_rng(seed)
    start = np.zeros((STARTS, len(first.free)))
    start[:, :SIZE] = (
        means + rng.normal(size=(STARTS, SIZE)) * SPREAD * spread * free * (np.arange(STARTS) > 0)[:, None]
    )
    theta, _ = first.best(start)
    scale = first.noise_scale(theta)
    second = make_problem(sweep, means, spread, free, scale=scale)
    theta, _ = second.best(theta[None])
    bias, spare = _misses(second, theta, second.left_out(theta))
    cell = float(np.clip(np.sqrt(max(np.mean(bias**2) - spare.mean(), 0.0)), LEAST_CELL, MOST_CELL))
    last = make_problem(sweep, means, spread, free, scale=scale, cell=cell)
    theta, cost = last.best(theta[None])
    left_out = last.left_out(theta)
    bias, spare = _misses(last, theta, left_out)
    return Solution(
        theta=theta[:SIZE],
        covariance=last.covariance(theta),
        noise_scale=scale,
        cell_error=cell,
        inflation=max(1.0, float(np.sqrt(np.mean(bias**2 / (spare + cell**2))))),
        cost=cost,
        left_out=left_out,
    )


def _misses(problem: Problem, theta: Array, left_out: Array) -> tuple[Array, Array]:
    """Of each cell the median miss of the fit without it, near its lowest loss, and the variance expected there."""
    import numpy as np

    model = problem.model
    without = evaluate(left_out, model.points)
    variance = spread_at(theta[:SIZE], problem.covariance(theta), model.points)
    miss = problem.log_loss - without.log_level - without.log_gap
    chosen = [(row > 0) & (problem.log_gap < NEAR) for row in model.member]
    bias = [np.median(miss[i, k]) for i, k in enumerate(chosen)]
    return np.array(bias), np.array([np.median(variance[k]) for k in chosen])


def spread_at(theta: Array, covariance: Array, points: Array) -> Array:
    """Variance of ln loss at points (5, n) by the parameters' covariance and the scatter of a cell's optimum."""
    import numpy as np

    slopes = evaluate(theta[None], points, gradient=True).gradient
    assert slopes is not None
    known = np.einsum("pn,pq,qn->n", slopes[0], covariance, slopes[0])
    return known + OPTIMUM**2 * (slopes[0, RATE_AT] ** 2 + slopes[0, BATCH_AT] ** 2)


def noise(log_gap: Array) -> Array:
    """Standard deviation of ln loss of a run that lies `log_gap` above the lowest of its workload."""
    import numpy as np

    return np.hypot(NOISE, FAR_NOISE * log_gap)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A posterior with what it is compared to: residuals are `model.value(theta) - y`."""

    model: Posterior
    y: Array
    log_loss: Array
    log_gap: Array
    free: NDArray[np.bool_]

    def minimise(self, start: Array, weights: Array, tolerance: float, rounds: int = 100) -> tuple[Array, Array]:
        """Parameter vectors and costs from `start` (R, P), each under its own weights (R, n + P)."""
        import numpy as np

        free = np.tile(self.free, (len(start), 1))
        return minimise(self.model, self.y, start, weights, DELTA, free=free, tolerance=tolerance, rounds=rounds)

    def best(self, start: Array) -> tuple[Array, float]:
        """The best parameter vector from several starts, followed to its end, and its cost."""
        import numpy as np

        ones = np.ones((len(start), len(self.y)))
        if len(start) > 1:
            theta, costs = self.minimise(start, ones, 1e-5, rounds=FIRST)
            start = theta[[costs.argmin()]]
        theta, costs = self.minimise(start, ones[:1], 1e-10)
        return theta[0], float(costs[0])

    def left_out(self, theta: Array) -> Array:
        """Parameters for each cell fitted without it, from the fit of all: (cells, P); many cells go by turns."""
        import numpy as np

        cells = len(self.model.member)
        fold = np.arange(cells) % FOLDS
        weights = np.ones((min(cells, FOLDS), len(self.y)))
        for i, row in enumerate(self.model.member):
            weights[fold[i], : len(self.log_loss)] -= row
        step = max(1, BATCH // (len(self.y) * len(theta)))
        parts = np.split(weights, range(step, len(weights), step))
        found = [self.minimise(np.tile(theta, (len(w), 1)), w, 1e-7)[0][:, :SIZE] for w in parts]
        return np.concatenate(found)[fold]

    def noise_scale(self, theta: Array) -> float:
        """Median absolute residual of the runs over that of normal ones, within bounds."""
        import numpy as np

        runs = len(self.log_loss)
        residual = (self.model.value(theta[None])[0] - self.y)[:runs]
        spare = max(1 - float(self.free.sum()) / runs, 0.25)  # a fit with few runs to spare flatters itself
        return float(np.clip(1.4826 * np.median(np.abs(residual)) / np.sqrt(spare), LEAST_SCALE, MOST_SCALE))

    def covariance(self, theta: Array) -> Array:
        """Inverse of the reweighted Gauss-Newton matrix over all parameters, without the cells' rows."""
        import numpy as np

        parts = self.model.parts(theta[None])
        weights = np.minimum(1.0, DELTA / np.maximum(np.abs(parts.value - self.y), 1e-300))
        found: Array = np.asarray(np.linalg.inv(parts.gram(weights)[0]), dtype=float)[:SIZE, :SIZE]
        return (found + found.T) / 2


def make_problem(
    sweep: Sweep, means: Array, spread: Array, free: NDArray[np.bool_], *, scale: float = 1.0, cell: float = CELL
) -> Problem:
    """The sweep's posterior under noise `scale` times the assumed one and cells off by `cell`; `free` may move."""
    import numpy as np

    used = sweep.trained
    cells, number = np.unique(sweep.cell[used], return_inverse=True)
    model = Posterior(
        points=sweep.points[:, used],
        member=(np.arange(len(cells))[:, None] == number).astype(float),
        noise=noise(sweep.log_gap[used]) * scale,
        spread=np.concatenate([spread, np.full(len(cells), cell), np.full(2 * len(cells), OPTIMUM)]),
    )
    believed = np.concatenate([means, np.zeros(3 * len(cells))]) / model.spread
    return Problem(
        model=model,
        y=np.concatenate([sweep.log_loss[used] / model.noise, believed]),
        log_loss=sweep.log_loss[used],
        log_gap=sweep.log_gap[used],
        free=np.concatenate([free, np.ones(3 * len(cells), dtype=bool)]),
    )
