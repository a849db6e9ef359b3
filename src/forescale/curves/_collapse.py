"""Collapse: curves of one recipe at several sizes or horizons, brought onto one by their own ends.

l(x) = (L(x) - L0) / (L(1) - L0) over the share x of the run, L0 the irreducible loss (Qiu et al. 2025, arXiv:2507.02119; with
L0 = 0 Bergsma et al. 2025, arXiv:2509.25087). Curves collapse where tokens per parameter, schedule and AdamW's timescale
match. A run that leaves the band of the others is sick before its loss shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

from forescale.curves._curve import Curve
from forescale.errors import ForescaleError
from forescale.quantities import as_float, positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BINS = 50  # of a run
TENTH = 0.1
LEAST = 0.02  # of a run, at its start, is not compared
SHARE = 0.8  # of outcomes that an interval holds
DEEPEST = 1e-4  # a spread is not known better


@dataclass(frozen=True, kw_only=True, eq=False)
class Collapse:
    """A reference curve: normalised loss over the share of a run, and how far its curves lie apart.

    `share` are the middles of the bins, `reference` the mean of the normalised curves there (NaN without any), `deviation`
    their standard deviation over it, `seed_floor` the same of repeated runs (NaN without repeats): a collapse is as good as it
    can be where the deviation is below the floor. `end_error` is the relative spread of the last losses that the first tenth
    of each curve, left out in turn, predicts.
    """

    share: Array
    reference: Array
    deviation: Array
    seed_floor: Array
    irreducible: float
    end_error: float
    curves: int

    def residual(self, curve: Curve, total: float) -> Array:
        """A curve's relative distance from the reference in each bin, scaled to agree on the bins before; NaN where not run.

        `total` is the steps of the whole run. A healthy run stays within a few times `deviation`.
        """
        import numpy as np

        ratios = (binned(curve, total) - self.irreducible) / self.reference
        known = np.isfinite(ratios)
        if not known.any():
            raise ForescaleError(
                "a run is compared where it was measured; got no loss after its first 2 %: let it run on."
            )
        residuals = np.full(len(ratios), np.nan)
        for before, now in pairwise(np.flatnonzero(known).tolist()):
            seen = ratios[: before + 1][known[: before + 1]]
            residuals[now] = ratios[now] / float(np.median(seen)) - 1
        return residuals

    def final_loss(self, curve: Curve, total: float, *, until: float = TENTH) -> tuple[float, float, float]:
        """The final loss of a run of `total` steps from its first part, up to the share `until`: value, low and high (80 %)."""
        value = self.irreducible + self._ratio(curve, total, until)
        width = NormalDist().inv_cdf(0.5 + SHARE / 2) * self.end_error * value
        return value, value - width, value + width

    def _ratio(self, curve: Curve, total: float, until: float) -> float:
        return _ratio(binned(curve, total), self.share, self.reference, self.irreducible, until)


def collapse(curves: Sequence[Curve], *, irreducible: float = 0.0, repeats: Sequence[Sequence[Curve]] = ()) -> Collapse:
    """The reference of finished curves of one recipe; `repeats` are groups of runs that differ by seed alone.

    `irreducible` is L0 in nats per token: 0, or the constant of a loss law over sizes. Raises `ForescaleError` for fewer than
    two curves and for an L0 that is not below every loss.
    """
    import numpy as np

    listed = list(curves)
    if len(listed) < 2:
        raise ForescaleError(f"a collapse needs two curves or more; got {len(listed)}: add runs of the same recipe.")
    level = as_float(irreducible, "irreducible")
    lowest = min(float(np.nanmin(curve.loss)) for curve in listed)
    if not 0 <= level < lowest:
        raise ForescaleError(f"irreducible must be at least 0 and below every loss, {lowest:.4g}; got {level:g}.")
    rows = np.stack([_normalised(curve, level) for curve in listed])
    share = (np.arange(BINS) + 0.5) / BINS
    reference, deviation = _spread(rows)
    groups = [_spread(np.stack([_normalised(each, level) for each in group]))[1] for group in repeats if len(group) > 1]
    floor = _mean(np.stack(groups)) if groups else np.full(BINS, np.nan)
    return Collapse(
        share=share,
        reference=reference,
        deviation=deviation,
        seed_floor=floor,
        irreducible=level,
        end_error=_end_error(listed, rows, share, level),
        curves=len(listed),
    )


def binned(curve: Curve, total: float) -> Array:
    """The mean loss in each of 50 bins of a run of `total` steps; NaN where nothing was measured, and in the first 2 %."""
    import numpy as np

    at = curve.step / positive(total, "total")
    if float(at[-1]) > 1 + 1e-3:
        raise ForescaleError(
            f"total must be the steps of the whole run; got {total:g} of a curve to step {curve.step[-1]:g}."
        )
    kept = np.isfinite(curve.loss) & (at > LEAST)
    place = np.clip(
        np.ceil(at[kept] * BINS - 1e-9).astype(int) - 1, 0, BINS - 1
    )  # an edge belongs to the bin before it
    counts = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, curve.loss[kept], BINS)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _normalised(curve: Curve, level: float) -> Array:
    import numpy as np

    losses = binned(curve, float(curve.step[-1])) - level
    return losses / losses[np.flatnonzero(np.isfinite(losses))[-1]]


def _spread(rows: Array) -> tuple[Array, Array]:
    """Mean, and standard deviation over the mean, of each column; NaN where fewer than two are known."""
    import numpy as np

    mean, known = _mean(rows), np.isfinite(rows).sum(axis=0)
    squares = np.nansum((rows - mean) ** 2, axis=0) / np.maximum(known - 1, 1)
    return mean, np.where(known > 1, np.sqrt(squares) / mean, np.nan)


def _mean(rows: Array) -> Array:
    import numpy as np

    known = np.isfinite(rows).sum(axis=0)
    return np.where(known > 0, np.nansum(rows, axis=0) / np.maximum(known, 1), np.nan)


def _ratio(losses: Array, share: Array, reference: Array, level: float, until: float) -> float:
    """The last loss less L0 that a run's bins up to `until` ask for: the later half of them, their median."""
    import numpy as np

    ratios = ((losses - level) / reference)[share < until]
    known = ratios[np.isfinite(ratios)]
    if not len(known):
        raise ForescaleError(f"a run is read between 2 % and {until:.0%}; got no loss there: let it run on.")
    return float(np.median(known[len(known) // 2 :]))


def _end_error(curves: Sequence[Curve], rows: Array, share: Array, level: float) -> float:
    import numpy as np

    off: list[float] = []
    for place, curve in enumerate(curves):
        losses = binned(curve, float(curve.step[-1]))
        reference = _mean(np.delete(rows, place, axis=0))
        last = float(losses[np.flatnonzero(np.isfinite(losses))[-1]])
        off.append((level + _ratio(losses, share, reference, level, TENTH)) / last - 1)
    return max(float(np.sqrt(np.mean(np.square(off)))), DEEPEST)
