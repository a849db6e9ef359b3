"""What the runs of one cell say about where its optimum is: a log-likelihood over learning rate and batch.

The loss around an optimum has the shape of a measured valley (`_valley`); where the optimum is, how
steep this cell's valley is (a factor on the gaps) and its lowest loss are unknown. The lowest loss is solved for, the
steepness summed over. So a sweep of one batch says where the optimum is along its learning rates only, a sweep whose best
run is its last says that the optimum is there or beyond, and a diverged run says that its rate is above the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._valley import OCTAVE, WILD, across, floor
from forescale.laws import Landscape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit._cells import Cell

    Array = NDArray[np.floating[Any]]

STEP = OCTAVE / 6  # of the grid
BEYOND = 6 * OCTAVE  # how far the grid goes on from the runs
NOISE = 0.0015  # of ln loss: residuals around a quadratic in a cell are 0.10 to 0.17 % (facts: hp-laws.md 2.4)
MISSHAPEN = 0.4  # how far, as a share of a run's gap, a cell's valley may be from the landscape's shape
MOST_RUNS = 20  # the best runs of a cell, which count: farther out the errors of the landscape's shape add up
SOLVED_FOR = 4  # by a cell's runs: the optimum, the lowest loss and the steepness
STEEPNESS_SD = 0.5  # of the logarithm of a cell's gaps over the landscape's
STEEPNESS = (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0)  # where that logarithm is summed over
DIVERGES = (2.5, 0.75)  # octaves above the best rate where half of the runs diverge, and their spread (facts 2.4)
BEST_KNOWN = (1.0, 1.5)  # octaves (sd) that a setting which someone trained without a sweep is from the best


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The log-likelihood of one cell's optimum on a grid of (ln learning rate, ln batch)."""

    cell: Cell
    rates: Array  # (a,)
    batches: Array  # (b,)
    log_likelihood: Array  # (a, b), highest 0
    kind: str  # sweep, one batch, one rate, best known, diverged


def evidence(cell: Cell, landscape: Landscape, share: float = 1.0) -> Evidence:
    """The evidence of a cell, whose losses may be infinite (diverged).

    `share` is the weight of a setting without a sweep: many of a kind divide one, since they share what is wrong with them.
    """
    import numpy as np

    rates, batches = (_axis(cell.points[:, i]) for i in (0, 1))
    wild = ~(cell.log_loss - cell.log_loss.min() < WILD) if np.isfinite(cell.log_loss).any() else cell.log_loss > 0
    log_likelihood = _of_diverged(cell.points[wild], rates, batches)
    if len(cell.points) == 1 and not wild.any():
        log_likelihood, kind = share * _best_known(cell.points[0], rates, batches), "best known"
    elif wild.all():
        kind = "diverged"
    else:
        log_likelihood = log_likelihood + _of_losses(
            cell.points[~wild], cell.log_loss[~wild], landscape, rates, batches
        )
        kind = {(True, True): "sweep", (True, False): "one batch"}.get(cell.spread, "one rate")
    return Evidence(
        cell=cell,
        rates=rates,
        batches=batches,
        log_likelihood=np.asarray(log_likelihood - log_likelihood.max()),
        kind=kind,
    )


def _axis(logs: Array) -> Array:
    import numpy as np

    return np.arange(logs.min() - BEYOND, logs.max() + BEYOND, STEP)


def _best_known(point: Array, rates: Array, batches: Array) -> Array:
    along = [
        ((axis - at) / (sd * OCTAVE)) ** 2 for axis, at, sd in zip((rates, batches), point, BEST_KNOWN, strict=True)
    ]
    return -0.5 * (along[0][:, None] + along[1])


def _of_losses(points: Array, log_loss: Array, landscape: Landscape, rates: Array, batches: Array) -> Array:
    """-½ the weighted squares of (ln loss - lowest - steepness x gap), the lowest solved for, the steepness summed over."""
    import numpy as np

    best = log_loss.argsort()[:MOST_RUNS]
    points, gap = points[best], (log_loss - log_loss.min())[best]
    weights = 1 / (NOISE**2 + (MISSHAPEN * gap) ** 2)
    v = (points[:, 1:] - batches) / OCTAVE
    u = (points[:, :1, None] - rates[:, None]) / OCTAVE - landscape.ridge * v[:, None, :]
    model = across(landscape, u) + floor(landscape, v)[:, None, :]
    total = weights.sum()
    off = gap - weights @ gap / total
    mean = np.tensordot(weights, model, 1) / total
    together = np.tensordot(weights * off, model, 1)
    squares = np.tensordot(weights, model * model, 1) - total * mean**2
    logs = np.array(STEEPNESS)[:, None, None]
    steepness = np.exp(logs)
    missed = weights @ off**2 - 2 * steepness * together + steepness**2 * squares
    spare = len(gap) - SOLVED_FOR
    scatter = max(1.0, float(missed.min()) / spare) if spare > 0 else 1.0  # runs may be noisier than usual
    return np.logaddexp.reduce(-0.5 * missed / scatter - 0.5 * (logs / STEEPNESS_SD) ** 2, axis=0)


def _of_diverged(points: Array, rates: Array, batches: Array) -> Array:
    """Ln of the chance that these runs diverge at their rates above the best: at each batch the lowest one counts."""
    import numpy as np
    from scipy.special import log_ndtr

    if not len(points):
        return np.zeros((len(rates), len(batches)))
    lowest: dict[float, float] = {}
    for rate, batch in points.tolist():
        lowest[batch] = min(rate, lowest.get(batch, math.inf))
    middle, spread = DIVERGES
    at = np.array(list(lowest.values()))[:, None]
    chance: Array = log_ndtr(((at - rates) / OCTAVE - middle) / spread)
    return chance.mean(0)[:, None] * np.ones(len(batches))
