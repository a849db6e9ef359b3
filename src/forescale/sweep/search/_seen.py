"""The runs of a search so far, in octaves from the start, sorted by what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._valley import WILD

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Points are (n, 2) octaves off the start's mean."""

    points: Array  # of runs with a loss
    log_loss: Array
    sd: Array  # of each ln loss, beyond a run's own noise
    diverged: Array
    failed: Array  # ended without a loss, and perhaps diverged
    dominated: Array  # stopped early for being worse than the others
    pending: Array

    @property
    def gap(self) -> Array:
        """Ln loss above the lowest."""
        return self.log_loss - self.log_loss.min() if len(self.log_loss) else self.log_loss

    @property
    def tried(self) -> Array:
        """Every point that a loss has come or may come of."""
        import numpy as np

        return np.concatenate([self.points, self.pending])

    @property
    def every(self) -> Array:
        """Every point, whatever came of it."""
        import numpy as np

        return np.concatenate([self.points, self.diverged, self.failed, self.dominated, self.pending])


def sort_out(points: Array, log_loss: Array, sd: Array, failed: Array, dominated: Array, pending: Array) -> Seen:
    """Losses that are not finite are those of diverged runs, and so are losses far above the lowest at higher rates."""
    import numpy as np

    finite = np.isfinite(log_loss)
    near = finite.copy()
    if finite.any():
        best = np.where(finite, log_loss, np.inf).argmin()
        near &= (log_loss - log_loss[best] < WILD) | (points[:, 0] < points[best, 0])
    order = np.lexsort((*points[near].T, log_loss[near]))  # the answer does not depend on the order of the runs
    return Seen(
        points=points[near][order],
        log_loss=log_loss[near][order],
        sd=sd[near][order],
        diverged=_sorted(points[~near]),
        failed=_sorted(failed),
        dominated=_sorted(dominated),
        pending=_sorted(pending),
    )


def _sorted(points: Array) -> Array:
    import numpy as np

    return points[np.lexsort(points.T)]
