"""Loss over tokens for each batch, L_B(D) = E + K_B D^-beta_B, and the tokens that reach a loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """One batch's loss over tokens: E + K D^-beta, and the tokens of its runs."""

    batch_tokens: float
    E: float
    K: float
    beta: float
    tokens: tuple[float, ...]
    losses: tuple[float, ...]

    def loss_at(self, tokens: Any) -> Any:
        """The curve."""
        return self.E + self.K * tokens**-self.beta

    def reach(self, loss: float) -> float | None:
        """Tokens to `loss`; None where the curve would be read beyond its runs."""
        if loss <= self.E:
            return None
        tokens = (self.K / (loss - self.E)) ** (1 / self.beta)
        inside = min(self.tokens) / BEYOND <= tokens <= max(self.tokens) * BEYOND
        return tokens if inside else None


def fit_curves(cells: Mapping[float, Sequence[tuple[float, float]]], group: str = "") -> tuple[LossCurve, ...]:
    """A curve a batch from {batch_tokens: (tokens, loss), ...}: one E for all, since it is the data's and the model's.

    K and beta are each batch's own: with one beta for all batches the critical batch could not grow along a run. Least
    squares of the loss. Raises `ForescaleError` where no batch has three lengths, or too few have two.
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
    best = min((float(E) for E in tried), key=lambda E: sum(_line(*each, E)[2] for each in arrays.values()))
    curves = [_curve(batch, usable[batch], _line(*arrays[batch], best), best) for batch in sorted(usable)]
    return tuple(curve for curve in curves if curve.beta > 0)


def _line(log_tokens: Array, loss: Array, E: float) -> tuple[float, float, float]:
    """Ln K, beta and the squared error of the loss of ln(L - E) = ln K - beta ln D, weighted to count errors of L."""
    import numpy as np

    left: Array = loss - E
    weight = left * left
    x, y = log_tokens, np.log(left)
    mean_x, mean_y = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
    slope = float((weight * (x - mean_x) * (y - mean_y)).sum() / (weight * (x - mean_x) ** 2).sum())
    fitted = np.exp(mean_y + slope * (x - mean_x))
    return mean_y - slope * mean_x, -slope, float(((left - fitted) ** 2).sum())


def _curve(batch: float, runs: Sequence[tuple[float, float]], line: tuple[float, float, float], E: float) -> LossCurve:
    tokens, losses = zip(*runs, strict=True)
    return LossCurve(batch_tokens=batch, E=E, K=math.exp(line[0]), beta=line[1], tokens=tokens, losses=losses)


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
