"""Where a run will end: laws of the loss in the area under the learning rate, weighed by what was seen and by a prior.

L(t) = L0 + A S(t)^-alpha + B h(t): S is the area under the learning rate and h the rate^gamma with a memory of m steps (for
gamma = 1 the momentum law of Tissue et al., arXiv:2408.11029; for m = 0 its linear limit). The shapes alpha, gamma and m
are a grid; L0, A and B have a Gaussian prior, and what no such law holds is a slow drift, a Gaussian process in ln t: the wider
the faster the loss still falls, as early in a run, where no law of this form holds yet, and the more the records differ.
So each shape's forecast is a Gaussian, and together they are a mixture, weighed by their likelihoods. Where the schedule is
not known, each usual one has a share of the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.curves.watch._prior import Prior, read_prior

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BINS = 32  # of what was seen, evenly in sqrt(step): more where the loss bends
FIRST = 0.33  # of what was seen, and the warmup, are left out
LEAST = 3  # records that a forecast rests on
LAST = 0.02  # of a run: the end is the mean loss over it
CLIP = 5.0  # noise scales beyond which a loss counts as if it were there: a spike does not move a mean
PARTS = 400  # of a run, in which the rates are summed


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Gaussians with weights that add up to 1, for the mean loss over the end of a run."""

    weight: Array
    mean: Array
    spread: Array  # standard deviations
    noise: float  # standard deviation of that mean by its batches

    def below(self, value: float, factor: float = 1.0) -> float:
        """The probability of less than `value`, the Gaussians `factor` times as wide, and apart where that is above 1."""
        import numpy as np
        from scipy.special import ndtr

        middle = float(self.weight @ self.mean)
        spread = np.sqrt((factor * self.spread) ** 2 + self.noise**2)
        means = middle + max(factor, 1.0) * (self.mean - middle)  # schedules that may follow do not come closer
        return float(self.weight @ ndtr((value - means) / spread))

    def quantile(self, probability: float, factor: float = 1.0) -> float:
        """The value that it stays below with this probability."""
        middle = float(self.weight @ self.mean)
        reach = (
            10 * max(factor, 1.0) * (float(self.spread.max()) + float(abs(self.mean - middle).max())) + 10 * self.noise
        )
        low, high = middle - reach, middle + reach
        while high - low > 1e-7 * abs(middle):  # halving: 30 times at most
            half = (low + high) / 2
            low, high = (half, high) if self.below(half, factor) < probability else (low, half)
        return (low + high) / 2


@dataclass(frozen=True, kw_only=True)
class Binned:
    """Mean losses of parts of what was seen: their steps, losses, and the variances of the means by the batches' noise."""

    step: Array
    loss: Array
    variance: Array
    noise: float  # standard deviation of one record


def binned(step: Array, loss: Array, first: float) -> Binned:
    """The finite losses after step `first` in parts that are even in the root of the step."""
    import numpy as np

    kept = np.isfinite(loss) & (step > first)
    step, loss = step[kept], loss[kept]
    edges = np.linspace(math.sqrt(max(first, 0.0)), math.sqrt(step[-1]), BINS + 1)
    place = np.clip(np.searchsorted(edges, np.sqrt(step), side="left") - 1, 0, BINS - 1)
    middle = np.array([np.median(loss[place == b]) if (place == b).any() else np.nan for b in range(BINS)])
    noise = noise_of(loss)
    tame = np.clip(loss, middle[place] - CLIP * noise, middle[place] + CLIP * noise)
    count = np.bincount(place, minlength=BINS)
    full = count > 0
    mean = np.bincount(place, tame, BINS)[full] / count[full]
    at = np.bincount(place, step, BINS)[full] / count[full]
    return Binned(step=at, loss=mean, variance=noise**2 / count[full], noise=noise)


def noise_of(loss: Array) -> float:
    """The standard deviation of one record around a smooth curve, from second differences; spikes do not move it."""
    import numpy as np

    bends = np.abs(loss[2:] - 2 * loss[1:-1] + loss[:-2])
    return max(
        1.4826 * float(np.median(bends)) / math.sqrt(6) if len(bends) else 0.0, 1e-6 * float(np.abs(loss).mean())
    )


def forecast(
    step: Array, loss: Array, total: float, rates: Mapping[str, tuple[float, Array]], prior: Prior | None = None
) -> Mixture:
    """The end of a run of `total` steps; `rates` are schedules, each with its share of belief and PARTS rates, evenly."""
    import numpy as np

    prior = prior or read_prior()
    warm = min(_warm(rate) for _, rate in rates.values()) * total
    first = max(FIRST * float(step[-1]), warm if warm < 0.5 * step[-1] else 0.0, 1.0)
    seen = binned(step, loss, min(first, float(step[-LEAST]) - 1e-9))
    level = float(np.mean(seen.loss[-4:]))
    drift = math.hypot(prior.drift, prior.moving * _fall(seen) ** prior.bend, prior.noisy * seen.noise / level)
    at_end = total * (1 - LAST / 2)
    gap = np.median(np.diff(step[-200:])) if len(step) > 1 else 1.0
    end_noise = seen.noise**2 / max(LAST * total / float(gap), 1.0)
    around = _drift(np.append(seen.step, at_end), level, drift, prior)
    parts = [
        _of_shapes(seen, level, around, at_end, total, rate, math.log(share), prior) for share, rate in rates.values()
    ]
    score, mean, variance = (np.concatenate(each) for each in zip(*parts, strict=True))
    weight = np.exp(score - score.max())
    return Mixture(weight=weight / weight.sum(), mean=mean, spread=np.sqrt(variance), noise=math.sqrt(end_noise))


def _warm(rate: Array) -> float:
    """The share of a run after which its rate has risen to its peak, or nearly."""
    import numpy as np

    return float(np.argmax(rate >= 0.95 * rate.max())) / len(rate)


def _fall(seen: Binned) -> float:
    """How fast the loss falls, as a share of it per unit of ln(step)."""
    import numpy as np

    x, y = np.log(seen.step), np.log(np.maximum(seen.loss, 1e-9))
    x = x - x.mean()
    return abs(float(x @ y)) / max(float(x @ x), 1e-12)


def _of_shapes(
    seen: Binned, level: float, around: Array, end: float, total: float, rate: Array, log_share: float, prior: Prior
) -> tuple[Array, Array, Array]:
    """Log weight, mean and variance of the end for each shape of the law under one schedule."""
    import numpy as np

    times = np.append(seen.step, end)
    columns = _columns(times, total, rate / rate.max(), prior)
    around = around + np.diag(np.append(seen.variance, 0.0))
    found = [
        _given(seen.loss, columns @ np.array(kind.mean) * level, columns * np.array(kind.spread) * level, around)
        for kind in prior.kinds
    ]
    score = np.concatenate([each[0] + math.log(kind.share) for each, kind in zip(found, prior.kinds, strict=True)])
    return score + log_share, np.concatenate([each[1] for each in found]), np.concatenate([each[2] for each in found])


def _given(loss: Array, centre: Array, scaled: Array, around: Array) -> tuple[Array, Array, Array]:
    """Log likelihood of the losses, and mean and variance of the last value given them, of each shape."""
    import numpy as np

    n = len(loss)
    root = np.linalg.cholesky(around + scaled @ scaled.transpose(0, 2, 1))
    solved = np.linalg.solve(root[:, :n, :n], (loss - centre[:, :n])[:, :, None])[:, :, 0]
    score: Array = -0.5 * (solved**2).sum(1) - np.log(np.diagonal(root, axis1=1, axis2=2)[:, :n]).sum(1)
    variance: Array = np.square(root[:, n, n], dtype=float)
    return score, centre[:, n] + (root[:, n, :n] * solved).sum(1), variance


def _columns(times: Array, total: float, height: Array, prior: Prior) -> Array:
    """1, S^-alpha (1 at the last step seen) and the held rate^gamma at these times; shape (shapes, times, 3)."""
    import numpy as np

    width = total / len(height)
    grid = np.linspace(0, total, len(height) + 1)
    area = np.append(0.0, np.cumsum(height)) * width
    passed = np.maximum(np.interp(times, grid, area), 1e-6 * area[-1])
    falls = [(passed / passed[-2]) ** -alpha for alpha in prior.alpha]
    hots = [
        np.interp(times, grid, _held(height**gamma, width, memory)) for memory in prior.memory for gamma in prior.gamma
    ]
    return np.array([np.column_stack([np.ones_like(times), fall, hot]) for hot in hots for fall in falls])


def _held(height: Array, width: float, memory: float) -> Array:
    """The exponential mean of a row of rates with this memory in steps, at the edges of the parts."""
    import numpy as np

    if memory < width:
        return np.append(height[0], height)
    keep = math.exp(-width / memory)
    warm = int(np.argmax(height >= 0.95 * height.max()))
    held = [float(height[warm])]  # the warmup is left out: its loss is not that of a low rate
    for at, now in enumerate(height.tolist()):
        held.append(held[-1] if at < warm else keep * held[-1] + (1 - keep) * now)
    return np.array(held)


def _drift(times: Array, level: float, drift: float, prior: Prior) -> Array:
    """What laws do not hold: a drift that forgets itself in ln t; shape (times, times)."""
    import numpy as np

    apart = np.abs(np.log(times)[:, None] - np.log(times))
    slow = drift**2 * np.exp(-apart / prior.span)
    return (slow + 1e-8 * np.eye(len(times)) + prior.rough**2 * np.eye(len(times))) * level**2
