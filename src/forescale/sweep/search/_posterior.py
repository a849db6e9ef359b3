"""Which valleys the runs leave likely: sequential Monte Carlo, the likelihood raised from power 0 to 1 (Del Moral et al. 2006).

ln loss = lowest + valley's gap + misfit + noise. The lowest is flat and solved for. The misfit is a Gaussian process, larger
where the gap is larger: the measured shape is right near an optimum and off by a share of the gap far from it. Noise and
misfit share a scale that is integrated over, so that a lab with noisier runs or another landscape is believed less.
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
ENOUGH = 0.5  # effective share of them, down to which a step raises the likelihood's power
BISECTIONS = 12
MOVES = 4  # of every valley after each step
STRIDE = 2.4  # of a move, over the root of the dimension (Gelman, Roberts and Gilks 1996)
MISFIT = (0.0005, 0.3)  # sd at the optimum, and as a share of the gap
TAKEN = 0.5  # of a gap, at most
LENGTH = (1.5, 1.5)  # octaves over which the misfit changes
SCALE_RUNS = 4.0  # runs that the usual scale of noise and misfit counts for
ACCIDENT = 0.02  # chance that a run ends without a loss for reasons of its own


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Likely valleys, equally weighted, and what makes functions of them that go through the runs."""

    valleys: Array  # (k, 6)
    start: Start
    seen: Seen
    rng: np.random.Generator

    def functions(self, points: Array) -> Array:
        """(k, m) draws of ln loss over the lowest, misfit included, at points (m, 2) in octaves from the start."""
        import numpy as np

        gap = gaps(self.valleys, points, self.start.landscape)
        seen, size = self.seen, _misfit(gap)
        prior = _alike(points, points) * np.outer(size, size)
        if not len(seen.points):
            return _bent(gap, self._draws(prior))
        model = gaps(self.valleys, seen.points, self.start.landscape)
        left, missed, _ = _left(model, seen)
        of_runs = _misfit(model)
        among = _alike(seen.points, seen.points) * np.outer(of_runs, of_runs) + np.diag(NOISE**2 + seen.sd**2)
        to_points = _alike(seen.points, points) * np.outer(of_runs, size)
        gain: Array = np.linalg.solve(among, to_points)
        scale = (SCALE_RUNS + missed.mean()) / (SCALE_RUNS + len(seen.points) - 1)
        return _bent(gap, left @ gain + math.sqrt(scale) * self._draws(prior - to_points.T @ gain))

    def _draws(self, covariance: Array) -> Array:
        import numpy as np

        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.rng.standard_normal((len(self.valleys), len(covariance))) @ root.T


def _bent(gap: Array, misfit: Array) -> Array:
    """A valley with its misfit, which takes away a part of a gap at most: it digs no second valley."""
    import numpy as np

    return gap + np.maximum(misfit, -TAKEN * gap - MISFIT[0])


def posterior(start: Start, seen: Seen, rng: np.random.Generator) -> Posterior:
    """The valleys that prior and runs leave likely."""
    valleys = draw(start, KEPT, rng)
    likelihood, power = _log_likelihood(valleys, start, seen), 0.0
    while power < 1:
        step = _step(likelihood, 1 - power)
        valleys = valleys[_picked(_normal(step * likelihood), rng)]
        power += step
        valleys, likelihood = _moved(valleys, power, start, seen, rng)
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


def _moved(valleys: Array, power: float, start: Start, seen: Seen, rng: np.random.Generator) -> tuple[Array, Array]:
    """The valleys after some steps of Metropolis' random walk, and their log-likelihoods."""
    import numpy as np

    size = valleys.shape[1]
    spread = np.cov(valleys.T) + 1e-8 * np.eye(size)
    root = np.linalg.cholesky(spread) * STRIDE / math.sqrt(size)
    likelihood = _log_likelihood(valleys, start, seen)
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

    total = _of_diverged(valleys, seen.diverged)
    if len(seen.points):
        _, missed, constant = _left(gaps(valleys, seen.points, start.landscape), seen)
        total = total + constant - (SCALE_RUNS + len(seen.points) - 1) / 2 * np.log1p(missed / SCALE_RUNS)
        total = total + _of_dominated(valleys, start, seen)
    return total


def _left(model: Array, seen: Seen) -> tuple[Array, Array, Array]:
    """What the valleys' gaps (k, n) leave of the runs once the lowest is solved for, its weighted squares, and ln weights."""
    import numpy as np

    weights = 1 / (NOISE**2 + seen.sd**2 + MISFIT[0] ** 2 + (MISFIT[1] * model) ** 2)
    left = seen.gap - model
    total = weights.sum(1, keepdims=True)
    left = left - (weights * left).sum(1, keepdims=True) / total
    constant = (np.log(weights).sum(1) - np.log(total[:, 0])) / 2
    return left, (weights * left**2).sum(1), constant


def _misfit(gap: Array) -> Array:
    """(m,) sd of the misfit at points, from their gaps in all valleys (k, m)."""
    import numpy as np

    return np.hypot(MISFIT[0], MISFIT[1] * np.minimum(gap.mean(0), 1.0))


def _alike(a: Array, b: Array) -> Array:
    import numpy as np

    off = (a[:, None] - b) / LENGTH
    return np.exp(-0.5 * (off**2).sum(-1))


def _of_diverged(valleys: Array, points: Array) -> Array:
    """Ln of the chance that these runs diverge, each so far above the best rate."""
    import numpy as np
    from scipy.special import ndtr

    if not len(points):
        return np.zeros(len(valleys))
    middle, spread = DIVERGES
    chance = ndtr((points[:, 0] - valleys[:, :1] - middle) / spread)
    return np.log(ACCIDENT + (1 - ACCIDENT) * chance).sum(1)


def _of_dominated(valleys: Array, start: Start, seen: Seen) -> Array:
    """Ln of the chance that runs stopped for being worse would not have ended below the best."""
    import numpy as np
    from scipy.special import log_ndtr

    if not len(seen.dominated):
        return np.zeros(len(valleys))
    best = gaps(valleys, seen.points[:1], start.landscape)
    worse = gaps(valleys, seen.dominated, start.landscape) - best
    return log_ndtr(worse / (math.sqrt(2) * NOISE)).sum(1)
