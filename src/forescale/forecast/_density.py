"""The density on nested bins: probabilities level by level, uniform inside a finest interval, Pareto beyond the ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from forescale.forecast._grid import Grid

LEAST_START, MOVED_START = 1e-4, 0.1  # a Pareto law needs a positive start: below the first it is moved to the second
LARGEST = 1e12  # of a sampled value, in units of the normalised series
Conditional = Callable[[int, Sequence[Tensor]], Tensor]
"""Level, and the bins chosen at the levels before -> the level's logits [..., bins of the level]."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """A Pareto law on x >= start: its survival function is (scale / (x + scale - start + nudge))^shape.

    With a nudge above 0, as in the authors' code, the density integrates to a little less than 1.
    """

    start: float
    nudge: float = 0.0

    @property
    def scale(self) -> float:
        """The start of the law after a shift that makes it positive."""
        return self.start if self.start > LEAST_START else MOVED_START

    def log_survival(self, x: Tensor, shape: Tensor) -> Tensor:
        """Log of P(X > x)."""
        return shape * (math.log(self.scale) - self._log_moved(x))

    def log_density(self, x: Tensor, shape: Tensor) -> Tensor:
        """Log of the density at x >= start."""
        return torch.log(shape) - self._log_moved(x) + self.log_survival(x, shape)

    def at_survival(self, share: Tensor, shape: Tensor) -> Tensor:
        """The x that a share of the law lies beyond; at most LARGEST."""
        moved = (math.log(self.scale) - torch.log(share) / shape).clamp(max=math.log(LARGEST)).exp()
        return (moved - (self.scale - self.start) - self.nudge).clamp(min=self.start)

    def _log_moved(self, x: Tensor) -> Tensor:
        return torch.log((x + (self.scale - self.start + self.nudge)).clamp(min=self.scale))


@dataclass(frozen=True, kw_only=True)
class Density:
    """How probabilities of bins become a law on the line.

    With tails, the two extreme finest intervals each hold a Pareto law from their inner edge outwards. Without, the law
    is uniform there and 0 outside [low, high].
    """

    grid: Grid
    tails: bool = True
    nudge: float = 0.0

    @property
    def low_tail(self) -> Tail:
        """The law of -z in the lowest finest interval."""
        return Tail(start=-(self.grid.low + self.grid.width), nudge=self.nudge)

    @property
    def high_tail(self) -> Tail:
        """The law of z in the highest finest interval."""
        return Tail(start=self.grid.high - self.grid.width, nudge=self.nudge)

    def log_prob(self, z: Tensor, bins: Tensor, logits: Sequence[Tensor], shapes: Tensor | None) -> Tensor:
        """Log of the density at z, by logits [..., bins of a level] on the way to z's own `bins` [..., levels].

        `shapes` [..., 2] are the Pareto shapes of the low and the high tail.
        """
        chosen = [
            functional.log_softmax(level, -1).gather(-1, bins[..., k : k + 1]).squeeze(-1)
            for k, level in enumerate(logits)
        ]
        return torch.stack(chosen).sum(0) + self._within(z, bins, shapes)

    def _within(self, z: Tensor, bins: Tensor, shapes: Tensor | None) -> Tensor:
        """Log of the density inside the finest interval."""
        uniform = torch.full_like(z, -math.log(self.grid.width))
        place = self.grid.place(bins)
        if not self.tails or shapes is None:
            outside = (z < self.grid.low) | (z > self.grid.high)
            return uniform.masked_fill(outside, -math.inf)
        low = self.low_tail.log_density(-z, shapes[..., 0])
        high = self.high_tail.log_density(z, shapes[..., 1])
        return torch.where(place == 0, low, torch.where(place == self.grid.intervals - 1, high, uniform))

    def cdf(self, z: Tensor, bins: Tensor, logits: Sequence[Tensor], shapes: Tensor | None) -> Tensor:
        """P(Z <= z): a walk down the levels, so it needs the same logits as `log_prob`."""
        below, inside = torch.zeros_like(z), torch.ones_like(z)
        for level, each in enumerate(logits):
            probability = functional.softmax(each, -1)
            index = bins[..., level : level + 1]
            before = (probability.cumsum(-1) - probability).gather(-1, index).squeeze(-1)
            below = below + inside * before
            inside = inside * probability.gather(-1, index).squeeze(-1)
        return below + inside * self._share_below(z, bins, shapes)

    def _share_below(self, z: Tensor, bins: Tensor, shapes: Tensor | None) -> Tensor:
        place = self.grid.place(bins)
        share = ((z - self.grid.low) / self.grid.width - place).clamp(0, 1)
        if not self.tails or shapes is None:
            return share
        low = self.low_tail.log_survival(-z, shapes[..., 0]).exp().clamp(max=1)
        high = 1 - self.high_tail.log_survival(z, shapes[..., 1]).exp().clamp(max=1)
        return torch.where(place == 0, low, torch.where(place == self.grid.intervals - 1, high, share))

    def quantile(self, u: Tensor, conditional: Conditional, shapes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The values z [...] with P(Z <= z) = u, and their bins [..., levels]: exact, no sampling.

        A uniform random u gives a sample. The conditional is asked once a level, for the bins on the way.
        """
        chosen: list[Tensor] = []
        for level in range(self.grid.levels):
            index, u = descend(conditional(level, chosen), u)
            chosen.append(index)
        bins = torch.stack(chosen, -1)
        return self.value(bins, u, shapes), bins

    def value(self, bins: Tensor, u: Tensor, shapes: Tensor | None) -> Tensor:
        """The value that a share u of the law inside its finest interval lies below."""
        place = self.grid.place(bins)
        z = self.grid.low + (place + u) * self.grid.width
        if not self.tails or shapes is None:
            return z
        tiny = torch.finfo(u.dtype).tiny
        low = -self.low_tail.at_survival(u.clamp(min=tiny), shapes[..., 0])
        high = self.high_tail.at_survival((1 - u).clamp(min=tiny), shapes[..., 1])
        return torch.where(place == 0, low, torch.where(place == self.grid.intervals - 1, high, z))


def descend(logits: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The bin that the share u [...] of the law of logits [..., bins] falls in, and the share inside that bin."""
    cumulated = functional.softmax(logits, -1).cumsum(-1)
    u = u * cumulated[..., -1]  # which rounding left near 1
    index = torch.searchsorted(cumulated, u.unsqueeze(-1), right=True).clamp(max=logits.shape[-1] - 1)
    above = cumulated.gather(-1, index).squeeze(-1)
    before = cumulated.gather(-1, (index - 1).clamp(min=0)).squeeze(-1).masked_fill(index.squeeze(-1) == 0, 0)
    within = (u - before) / (above - before).clamp(min=torch.finfo(u.dtype).tiny)
    return index.squeeze(-1), within.clamp(0, 1)
