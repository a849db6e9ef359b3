"""Which valleys the runs leave likely: sequential Monte Carlo, the likelihood raised from power 0 to 1 (Del Moral et al. 2006).

ln loss = lowest + valley's gap + misfit + noise. The lowest is flat and solved for. The misfit is larger where the gap is
larger: the measured shape is right near an optimum and off by a share of the gap far from it. A valley is judged as if each
run's misfit were its own; what the runs then leave of it is spread between them as a Gaussian process, so that the surface
follows the runs where no valley does. Noise and misfit share a scale that is integrated over: a lab with noisier runs or
another landscape is believed less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._evidence import DIVERGES, NOISE
from forescale.sweep.search._seen import Seen
from forescale.sweep.search._start import Start
from forescale.sweep.search._valleys import draw, gaps, log_prior

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

KEPT = 256  # valleys
FIRST = 2048  # valleys before there is a run to weigh them by
ENOUGH = 0.4  # effective share of them, down to which a step raises the likelihood's power
BISECTIONS = 12
MOVES = 4  # of every valley after each step
STRIDE = 2.4  # of a move, over the root of the dimension (Gelman, Roberts and Gilks 1996)
MISFIT = (0.001, 0.5)  # sd at the optimum, and as a share of the gap
ROUNDING = 1e-6  # added to variances of unit size, so that a covariance has a root
TAKEN = 0.5  # of a gap, at most
LENGTH = (1.5, 1.5)  # octaves over which the misfit changes
SCALE_RUNS = 4.0  # runs that the usual scale of noise and misfit counts for
ACCIDENT = 0.02  # chance that a run said to have diverged did so for reasons of its own
CRASH = 0.5  # chance that a failed run, of which nothing is said, failed for such reasons


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Likely valleys, equally weighted, and what makes functions of them that go through the runs."""

    valleys: Array  # (k, 7)
    start: Start
    seen: Seen
    rng: np.random.Generator

    def losses(self, points: Array) -> tuple[Array, Array, float]:
        """Draws (k, m) of ln loss at points (m, 2), octaves from the start; (k,) of the valleys' floors; sd of a run's noise.

        They are over the lowest of the runs; before there is one over the valley's own floor, without a misfit.
        """
        import numpy as np

        gap, seen = gaps(self.valleys, points, self.start.shape), self.seen
        if not len(seen.points):
            return gap, np.zeros(len(gap)), NOISE
        model = gaps(self.valleys, seen.points, self.start.shape)
        lowest, left, missed, _ = _left(model, seen)
        size = _misfit(model).mean(0)
        among = _alike(seen.points, seen.points) + np.diag((NOISE**2 + seen.sd**2) / size**2)
        to_points = _alike(seen.points, points)
        gain: Array = np.linalg.solve(among, to_points)
        scale = math.sqrt((SCALE_RUNS + missed.mean()) / (SCALE_RUNS + len(seen.points) - 1))
        units = left / size @ gain + scale * self._draws(_alike(points, points) - to_points.T @ gain)
        return lowest[:, None] + _bent(gap, _misfit(gap) * units), lowest, scale * NOISE

    def _draws(self, covariance: Array) -> Array:
        import numpy as np

        root = np.linalg.cholesky(covariance + ROUNDING * np.eye(len(covariance)))
        return self.rng.standard_normal((len(self.valleys), len(covariance))) @ root.T


def _bent(gap: Array, misfit: Array) -> Array:
    """A valley with its misfit, which takes away a part of a gap at most: it digs no second valley."""
    import numpy as np

    return gap + np.maximum(misfit, -TAKEN * gap - MISFIT[0])


def posterior(start: Start, seen: Seen, rng: np.random.Generator) -> Posterior:
    """The valleys that prior and runs leave likely."""
    if not len(seen.points) + len(seen.diverged) + len(seen.failed):
        return Posterior(valleys=draw(start, FIRST, rng), start=start, seen=seen, rng=rng)
    valleys = draw(start, KEPT, rng)
    likelihood, power = _log_likelihood(valleys, start, seen), 0.0
    while power < 1:
        step = _step(likelihood, 1 - power)
        picked = _picked(_normal(step * likelihood), rng)
        power += step
        valleys, likelihood = _moved(valleys[picked], likelihood[picked], power, start, seen, rng)
    return Posterior(valleys=valleys, start=start, seen=seen, rng=rng)


def _step(likelihood: Array, most: float) -> float:
    """By how much to raise the likelihood's power: as far as enough valleys still count."""

    def effective(step: float) -> float:
        return 1 / float((_normal(step * likelihood) ** 2).sum()) / len(likelihood)

    if effective(most) >= ENOUGH:
        return most
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= ENOUGH else (low, middle)
    return high


def _normal(logs: Array) -> Array:
    import numpy as np

    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def _picked(weights: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices, each as often as its weight says (systematic resampling)."""
    import numpy as np

    chosen = np.searchsorted(weights.cumsum(), (np.arange(len(weights)) + rng.random()) / len(weights))
    return np.minimum(chosen, len(weights) - 1)


def _moved(
    valleys: Array, likelihood: Array, power: float, start: Start, seen: Seen, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The valleys after some steps of Metropolis' random walk, and their log-likelihoods."""
    import numpy as np

    size = valleys.shape[1]
    spread = np.cov(valleys.T) + 1e-8 * np.eye(size)
    root = np.linalg.cholesky(spread) * STRIDE / math.sqrt(size)
    now = log_prior(valleys, start) + power * likelihood
    for _ in range(MOVES):
        tried = valleys + rng.standard_normal(valleys.shape) @ root.T
        of_tried = _log_likelihood(tried, start, seen)
        then = log_prior(tried, start) + power * of_tried
        taken = np.log(rng.random(len(now))) < then - now
        valleys, likelihood, now = (
            np.where(taken[:, None], tried, valleys),
            np.where(taken, of_tried, likelihood),
            np.where(taken, then, now),
        )
    return valleys, likelihood


def _log_likelihood(valleys: Array, start: Start, seen: Seen) -> Array:
    import numpy as np

    total = _of_diverged(valleys, seen.diverged, ACCIDENT) + _of_diverged(valleys, seen.failed, CRASH)
    if len(seen.points):
        _, _, missed, constant = _left(gaps(valleys, seen.points, start.shape), seen)
        total = total + constant - (SCALE_RUNS + len(seen.points) - 1) / 2 * np.log1p(missed / SCALE_RUNS)
        total = total + _of_dominated(valleys, start, seen)
    return total


def _left(model: Array, seen: Seen) -> tuple[Array, Array, Array, Array]:
    """The valleys' lowest loss (k,) that fits the runs best, what it and their gaps (k, n) leave, its squares, ln weights."""
    import numpy as np

    weights = 1 / (NOISE**2 + seen.sd**2 + _misfit(model) ** 2)
    left = seen.gap - model
    total = weights.sum(1)
    lowest = (weights * left).sum(1) / total
    left = left - lowest[:, None]
    return lowest, left, (weights * left**2).sum(1), (np.log(weights).sum(1) - np.log(total)) / 2


def _misfit(gap: Array) -> Array:
    """Sd of the misfit where a valley has this gap."""
    import numpy as np

    return np.hypot(MISFIT[0], MISFIT[1] * np.minimum(gap, 1.0))


def _alike(a: Array, b: Array) -> Array:
    import numpy as np

    off = (a[:, None] - b) / LENGTH
    return np.exp(-0.5 * (off**2).sum(-1))


def _of_diverged(valleys: Array, points: Array, otherwise: float) -> Array:
    """Ln of the chance that these runs diverge, each so far above the best rate, or end `otherwise`."""
    import numpy as np
    from scipy.special import ndtr

    if not len(points):
        return np.zeros(len(valleys))
    middle, spread = DIVERGES
    chance = ndtr((points[:, 0] - valleys[:, :1] - middle) / spread)
    return np.log(otherwise + (1 - otherwise) * chance).sum(1)


def _of_dominated(valleys: Array, start: Start, seen: Seen) -> Array:
    """Ln of the chance that runs stopped for being worse would not have ended below the best."""
    import numpy as np
    from scipy.special import log_ndtr

    if not len(seen.dominated):
        return np.zeros(len(valleys))
    best = gaps(valleys, seen.points[:1], start.shape)
    worse = gaps(valleys, seen.dominated, start.shape) - best
    return log_ndtr(worse / (math.sqrt(2) * NOISE)).sum(1)
