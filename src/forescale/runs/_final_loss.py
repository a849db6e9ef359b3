"""The final loss of a curve: Step Law's Gaussian smoothing of noisy training losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forescale.errors import ForescaleError

WIDEST = 100  # standard deviation in rows, at most
SHARE = 0.01  # of the rows
SMOOTHING = "Gaussian of 1 % of the rows, at most 100, over the logging interval, as Step Law's"


def final_loss(losses: Sequence[float], steps: Sequence[float] | None = None) -> float:
    """Return the last value of a training-loss curve after smoothing; infinity if the curve ends in NaN or infinity.

    `losses` (nats per token) are the logged rows in order, `steps` the optimizer steps at which they were logged
    (None: each step). The filter is Gaussian with sigma = min(100, 1 % of the rows) / logging interval, in rows, and
    the curve is mirrored at its end, as in the log analysis that Step Law published (arXiv 2503.04715); its interval
    is that of the first two rows, here the median one. Rows that are not finite before the end are left out.
    Raises `ForescaleError` for an empty curve or steps of another length.
    """
    import numpy as np

    values = np.asarray(losses, dtype=float).ravel()
    if not values.size or (steps is not None and len(steps) != values.size):
        raise ForescaleError(f"a loss curve needs rows, and one step for each; got {values.size} losses.")
    if not math.isfinite(values[-1]):
        return math.inf
    kept = np.isfinite(values)
    sigma = min(WIDEST, SHARE * int(kept.sum())) / _interval(None if steps is None else np.asarray(steps)[kept])
    return _smoothed(values[kept], sigma)


def _interval(steps: object) -> float:
    import numpy as np

    gaps = np.diff(np.asarray(steps, dtype=float)) if steps is not None else np.array([])
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if gaps.size else 1.0


def _smoothed(values: object, sigma: float) -> float:
    import numpy as np
    from scipy.ndimage import gaussian_filter1d

    return float(np.asarray(gaussian_filter1d(np.asarray(values, dtype=float), sigma=sigma))[-1])
