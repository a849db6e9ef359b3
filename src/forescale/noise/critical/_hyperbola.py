"""Iso-loss runs to a critical batch: the tokens that each batch needs for one loss lie on D_B = D_min (1 + B / B_crit)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.quantities import humanize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

COVERAGE = 0.8
FEWEST = 3  # batches
WORSE = 1.2  # tokens of the smallest batch over the fewest: from here on it is worse than a larger one, not noise
WIDE = 10.0  # high over low, from which on an interval tells only an order of magnitude


@dataclass(frozen=True, kw_only=True)
class Point:
    """The tokens that a batch needs for the loss."""

    batch_tokens: float
    tokens: float

    @property
    def steps(self) -> float:
        """Optimizer steps."""
        return self.tokens / self.batch_tokens


@dataclass(frozen=True, kw_only=True)
class Hyperbola:
    """(S / S_min - 1) (D / D_min - 1) = 1 through the points of one loss; B_crit = D_min / S_min. Tokens, steps, nats.

    `low` and `high` are the 80 % interval of the critical batch by Fieller's theorem, from the points' own scatter; `high`
    is None where no batch was large enough to bound it. `critical_batch` is None where the fit has none above zero.
    """

    group: str
    loss: float
    points: tuple[Point, ...]
    min_tokens: float
    min_steps: float
    critical_batch: float | None
    low: float
    high: float | None
    rms: float  # of the tokens, relative
    note: str = ""  # what the data cannot tell; empty where they tell the critical batch

    @property
    def known(self) -> bool:
        """Whether the runs determine the critical batch: between their batches, and bounded on both sides."""
        return self.critical_batch is not None and not self.note

    def tokens_at(self, batch_tokens: Any) -> Any:
        """Tokens that a batch needs for the loss: D_min + S_min B."""
        return self.min_tokens + self.min_steps * batch_tokens

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        points = [{**vars(point), "steps": point.steps} for point in self.points]
        return {**vars(self), "points": points, "interval": f"{COVERAGE:.0%}".replace("%", " %")}


def fit_hyperbola(points: Sequence[Point], *, loss: float, group: str = "") -> Hyperbola:
    """Least squares of steps = S_min + D_min / B, with errors in proportion to the steps.

    Linear in both constants (McCandlish et al. 2018, arXiv:1812.06162, as arXiv:2505.13738 uses it). Raises
    `ForescaleError` for fewer than three batches.
    """
    import numpy as np
    from scipy.special import stdtrit  # pyright: ignore

    points = tuple(sorted(points, key=lambda point: point.batch_tokens))
    batches = np.array([point.batch_tokens for point in points])
    if len(np.unique(batches)) < FEWEST:
        raise ForescaleError(
            f"a critical batch needs the tokens to one loss at {FEWEST} batches or more; {group or 'these runs'} have "
            f"{len(np.unique(batches))} at loss {loss:.4g}: add batches, or choose another target loss."
        )
    steps = np.array([point.steps for point in points])
    design: Array = np.stack([1 / steps, 1 / (batches * steps)], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    slope = inverse @ design.T @ np.ones(len(points))
    residual = design @ slope - 1
    freedom = len(points) - 2
    covariance = inverse * float(residual @ residual) / freedom
    quantile = float(stdtrit(freedom, 0.5 + COVERAGE / 2))  # pyright: ignore
    low, high = fieller(slope, covariance, quantile)
    critical = float(slope[1] / slope[0]) if min(slope) > 0 else None
    return Hyperbola(
        group=group,
        loss=loss,
        points=points,
        min_tokens=float(slope[1]),
        min_steps=float(slope[0]),
        critical_batch=critical,
        low=low,
        high=high,
        rms=math.sqrt(float(residual @ residual) / freedom),
        note=_note(points, critical, low, high),
    )


def fieller(slope: Any, covariance: Any, quantile: float) -> tuple[float, float | None]:
    """Interval of slope[1] / slope[0], both above zero: where b - r a is within `quantile` of its standard deviations of 0.

    0 and None stand for ends that the data do not bound.
    """
    (a, b), q = slope, quantile**2
    square = a * a - q * covariance[0][0]
    middle = a * b - q * covariance[0][1]
    constant = b * b - q * covariance[1][1]
    root = math.sqrt(max(middle * middle - square * constant, 0.0))
    if constant <= 0:  # the tokens of a small batch are not told from none
        return 0.0, None
    if square <= 0:  # no batch costs more tokens, as far as the data tell
        return max(0.0, float((middle - root) / square)), None
    low, high = (middle - root) / square, (middle + root) / square
    return max(0.0, float(low)), (float(high) if a > 0 and high > 0 else None)


def _note(points: Sequence[Point], critical: float | None, low: float, high: float | None) -> str:
    least, most = points[0], points[-1]
    best = min(points, key=lambda point: point.tokens)
    if least.tokens > WORSE * best.tokens:
        return (
            f"batches below {humanize(best.batch_tokens)} need more tokens than it (up to x {least.tokens / best.tokens:.2f}): "
            "they are below the best batch or tuned worse, and no hyperbola holds there; leave them out (--least-batch)"
        )
    if critical is None or high is None:
        return "no batch is large enough to need clearly more tokens: the critical batch is bounded from below only"
    if critical > most.batch_tokens:
        return "the critical batch lies above the largest batch: add larger ones"
    if critical < least.batch_tokens:
        return "the critical batch lies below the smallest batch: add smaller ones"
    if low <= 0 or high / low > WIDE:
        return "the interval is wide: add batches on both sides of the critical one"
    return ""
