"""Loss over tokens for each batch, and the tokens that reach a loss.

Bergsma et al. (arXiv:2505.13738) fit E + K D^-beta to each batch. Where tokens follow the hyperbola D_min (1 + B / B_crit)
with a B_crit that grows with D_min, the loss of a large batch bends in logarithms, and the power law's B_crit is 5 to 7 % too
low however exact the runs; a parabola in ln D takes the bend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.noise.critical._hyperbola import FEWEST, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BEYOND = 1.25  # times the tokens of a batch's longest run (or 1/ of its shortest): farther, a curve is not read
GRID = 400
TARGETS = 3
ENDS = 0.999  # of the lowest loss: the largest E tried


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """One batch's loss over tokens: ln(L - E) = level + slope u + bend u^2, where u = ln(tokens) - centre."""

    batch_tokens: float
    E: float
    centre: float
    level: float
    slope: float
    bend: float  # 0 where the batch has two lengths only: a power law
    tokens: tuple[float, ...]

    def loss_at(self, tokens: float) -> float:
        """The curve."""
        u = math.log(tokens) - self.centre
        return self.E + math.exp(self.level + self.slope * u + self.bend * u * u)

    def reach(self, loss: float) -> float | None:
        """Tokens to `loss`, where the curve falls; None where it would be read beyond its runs."""
        if loss <= self.E:
            return None
        above = self.level - math.log(loss - self.E)
        square = self.slope**2 - 4 * self.bend * above
        if square <= 0:
            return None
        tokens = math.exp(self.centre + 2 * above / (math.sqrt(square) - self.slope))
        inside = min(self.tokens) / BEYOND <= tokens <= max(self.tokens) * BEYOND
        return tokens if inside else None


def fit_curves(cells: Mapping[float, Sequence[tuple[float, float]]], group: str = "") -> tuple[LossCurve, ...]:
    """A curve a batch from {batch_tokens: (tokens, loss), ...}: one E for all, since it is the data's and the model's.

    E is where power laws of all batches, each with its own exponent, fit best (least squares of the loss); the curves are
    parabolas about it. Raises `ForescaleError` where no batch has three lengths, or too few have two.
    """
    import numpy as np

    usable = {batch: sorted(runs) for batch, runs in cells.items() if len({tokens for tokens, _ in runs}) >= 2}
    if len(usable) < FEWEST or max(len({t for t, _ in runs}) for runs in usable.values()) < 3:
        raise ForescaleError(
            f"loss curves need {FEWEST} batches with runs of two lengths, one of them of three; {group or 'these runs'} have "
            f"{len(usable)} batches with two: train each batch to several lengths, or give the tokens to one loss."
        )
    arrays = {
        batch: (np.log([t for t, _ in runs]), np.array([loss for _, loss in runs])) for batch, runs in usable.items()
    }
    lowest = min(float(loss.min()) for _, loss in arrays.values())
    tried = lowest * (1 - np.geomspace(1 - ENDS, 1, GRID))
    best = float(tried[np.argmin(sum(_power(*each, tried) for each in arrays.values()))])
    curves = [_curve(batch, *arrays[batch], best) for batch in sorted(usable)]
    return tuple(curve for curve in curves if curve.slope < 0)


def _power(log_tokens: Array, loss: Array, E: Array) -> Array:
    """Squared error of the loss of the best power law about each E, its errors weighted to be those of L."""
    import numpy as np

    left: Array = loss - E[:, None]
    weight, y = left * left, np.log(left)
    total: Array = weight.sum(1, keepdims=True)
    x: Array = log_tokens - (weight * log_tokens).sum(1, keepdims=True) / total
    mean: Array = (weight * y).sum(1, keepdims=True) / total
    slope: Array = (weight * x * y).sum(1, keepdims=True) / (weight * x * x).sum(1, keepdims=True)
    return ((left - np.exp(mean + slope * x)) ** 2).sum(1)


def _curve(batch: float, log_tokens: Array, loss: Array, E: float) -> LossCurve:
    import numpy as np

    left, centre = loss - E, float(log_tokens.mean())
    order = min(len(np.unique(log_tokens)) - 1, 2)
    found = [float(c) for c in np.polyfit(log_tokens - centre, np.log(left), order, w=left)]
    bend, slope, level = found if order == 2 else (0.0, *found)
    tokens = tuple(float(t) for t in np.exp(log_tokens))
    return LossCurve(batch_tokens=batch, E=E, centre=centre, level=level, slope=slope, bend=bend, tokens=tokens)


def points_at(curves: Sequence[LossCurve], loss: float) -> tuple[Point, ...]:
    """The tokens to `loss` of each batch whose runs come near it."""
    found = ((curve.batch_tokens, curve.reach(loss)) for curve in curves)
    return tuple(Point(batch_tokens=batch, tokens=tokens) for batch, tokens in found if tokens is not None)


def usual_targets(curves: Sequence[LossCurve]) -> tuple[float, ...]:
    """Three losses that as many batches as possible reach within their runs, from high to low."""
    losses = [loss for curve in curves for loss in (curve.loss_at(min(curve.tokens)), curve.loss_at(max(curve.tokens)))]
    high, low = max(losses), min(losses)
    tried = [high - (high - low) * i / (GRID - 1) for i in range(GRID)]
    counts = [len(points_at(curves, loss)) for loss in tried]
    if not counts or max(counts) < FEWEST:
        return ()
    most = [loss for loss, count in zip(tried, counts, strict=True) if count == max(counts)]
    places = (round(share * (len(most) - 1)) for share in (0.1, 0.5, 0.9))
    return tuple(dict.fromkeys(most[place] for place in places))[:TARGETS]
