"""What missing a law's optimum costs: the loss gap around it, in octaves (log2) of learning rate and batch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, log2, sqrt


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The loss gap (a share) along one axis, the other held at its best; octaves ascending, through (0, 0)."""

    octaves: tuple[float, ...]
    loss_gap: tuple[float, ...]

    def gap(self, octave: float) -> float | None:
        """The gap at an offset: linear in the signed root, so exact for a parabola; None beyond the ends."""
        if not self.octaves[0] <= octave <= self.octaves[-1]:
            return None
        roots = [copysign(sqrt(g), o) for o, g in zip(self.octaves, self.loss_gap, strict=True)]
        return _interpolate(octave, self.octaves, roots) ** 2

    def band(self, loss_gap: float) -> tuple[float, float]:
        """The offsets on both sides of 0 where the gap reaches `loss_gap` (the slice's end where it never does)."""
        roots = [copysign(sqrt(g), o) for o, g in zip(self.octaves, self.loss_gap, strict=True)]
        root = sqrt(loss_gap)
        low, high = (max(min(r, roots[-1]), roots[0]) for r in (-root, root))
        return _interpolate(low, roots, self.octaves), _interpolate(high, roots, self.octaves)


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Loss gap over learning rate and batch around the optimum: two measured slices and their interaction.

    gap(u, v) = lr(u) + batch(v) - interaction * u * v with u, v in octaves, never below 0: a larger batch wants
    a larger learning rate.
    """

    learning_rate: Slice
    batch_tokens: Slice
    interaction: float  # share of loss per octave squared
    ridge: float  # octaves the best learning rate moves per octave of batch
    source: str

    def gap(self, learning_rate: float, batch_tokens: float) -> float | None:
        """The expected loss gap (a share) at factors on the optimum; None beyond what was measured."""
        u, v = log2(learning_rate), log2(batch_tokens)
        along_lr, along_batch = self.learning_rate.gap(u), self.batch_tokens.gap(v)
        if along_lr is None or along_batch is None:
            return None
        return max(along_lr + along_batch - self.interaction * u * v, 0.0)


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    i = min(max(bisect_right(xs, x) - 1, 0), len(xs) - 2)
    return ys[i] + (ys[i + 1] - ys[i]) * (x - xs[i]) / (xs[i + 1] - xs[i])
