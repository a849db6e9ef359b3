"""AdamW as an average: how much each update, and the initial weights, count in the final weights.

AdamW's step, theta <- (1 - alpha) theta + alpha x with alpha = learning_rate × weight_decay and x = -update /
weight_decay, is a moving average: after S steps theta = c0 theta_0 + sum c_i x_i with c_i = alpha_i × the product of
the later (1 - alpha_j), and c0 that of all. The coefficients sum to 1 (Straight to Zero, Bergsma et al. 2025,
arXiv:2502.15938). The x_i depend on theta: this describes a run, it does not predict its loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.quantities import positive
from forescale.schedules._check import Schedule, factor, step_count
from forescale.schedules._steps import over

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 10_000  # of the integral over a batch schedule, a multiple of it: a jump at a round progress is met exactly
CELLS_PER_STEP = 4
LAST = 0.9  # where the last tenth begins


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """What a schedule makes of a timescale; shares between 0 and 1."""

    initial_weight: float  # coefficient of the initial weights in the final ones
    peak: float  # progress (of tokens) at the middle of the step that counts most
    effective_share: float  # (sum c)^2 / sum c^2 over the updates, as a share of the steps
    last_tenth: float  # summed coefficients of the updates of the last tenth (of the tokens)
    mean_factor: float  # mean over the steps of the factor on the peak alpha: c0 is near exp(-mean_factor / timescale)


def update_weights(
    schedule: Schedule,
    steps: int,
    timescale: float,
    *,
    weight_decay: Schedule | None = None,
    batch: Schedule | None = None,
) -> NDArray[np.float64]:
    """The coefficient of each step's update in the final weights: an array of length `steps`, in the order of steps.

    alpha_i = f_i / (timescale × steps), with f_i the factor of step i (`factor_at`), times that of `weight_decay` where
    the decay has a schedule of its own. `timescale` is that of the peak, B / (learning_rate × weight_decay × D), with B
    the tokens of a mean step: D / steps. With `batch`, the batch relative to any other over token progress, steps do not
    cover equal shares of the tokens, and schedules are read at the token progress where each step begins and ends
    (`token_progress`). Raises `ForescaleError` where an alpha is above 1.
    """
    return _coefficients(_alphas(schedule, token_progress(batch, steps), timescale, weight_decay))


def initial_weight(
    schedule: Schedule,
    steps: int,
    timescale: float,
    *,
    weight_decay: Schedule | None = None,
    batch: Schedule | None = None,
) -> float:
    """The coefficient of the initial weights in the final ones; with `update_weights` of the same it sums to 1."""
    import numpy as np

    return float(np.prod(1 - _alphas(schedule, token_progress(batch, steps), timescale, weight_decay)))


def averaging(
    schedule: Schedule,
    steps: int,
    timescale: float,
    *,
    weight_decay: Schedule | None = None,
    batch: Schedule | None = None,
) -> Averaging:
    """The coefficients of `update_weights`, with the same arguments and errors, in five numbers."""
    import numpy as np

    edges = token_progress(batch, steps)
    alphas = _alphas(schedule, edges, timescale, weight_decay)
    counted = _coefficients(alphas)
    if not (squares := float(np.sum(counted**2))):
        raise ForescaleError("an average needs an update; got a schedule whose factors are all 0: let it learn.")
    largest = int(np.argmax(counted))
    late = np.clip((edges[1:] - LAST) / np.diff(edges), 0, 1)
    return Averaging(
        initial_weight=float(np.prod(1 - alphas)),
        peak=float(edges[largest : largest + 2].mean()),
        effective_share=float(np.sum(counted)) ** 2 / squares / len(counted),
        last_tenth=float(np.sum(counted * late)),
        mean_factor=float(alphas.mean()) * timescale * len(alphas),
    )


def token_progress(batch: Schedule | None, steps: int) -> NDArray[np.float64]:
    """Token progress at which each step begins, and 1 at the end: an array of length `steps` + 1.

    A step takes tokens in proportion to the batch where it is. Between progress p and p + dp lie dp / batch(p) steps, in
    proportion: p(s) solves s / steps = integral of 1 / batch from 0 to p over that from 0 to 1. So a larger batch makes
    fewer steps of the same tokens, and the scale of `batch` does not matter; None lays steps evenly. The integral is by
    the midpoint rule on at least four cells a step and 10,000 in all. Raises `ForescaleError` where the batch is 0.
    """
    import numpy as np

    steps = step_count(steps)
    even = np.arange(steps + 1) / steps
    if batch is None:
        return even
    cells = CELLS * ceil(CELLS_PER_STEP * steps / CELLS)
    relative = np.array([factor(batch, progress) for progress in ((np.arange(cells) + 0.5) / cells).tolist()])
    if not relative.all() or not factor(batch, 0.0):
        raise ForescaleError("a batch schedule must be above 0 everywhere; got 0: start it at the smallest batch.")
    taken = np.concatenate([[0.0], np.cumsum(1 / relative)])
    edges = np.interp(even, taken / taken[-1], np.arange(cells + 1) / cells)
    edges[-1] = 1.0
    return edges


def _alphas(
    schedule: Schedule, edges: NDArray[np.float64], timescale: float, weight_decay: Schedule | None
) -> NDArray[np.float64]:
    steps = len(edges) - 1
    scaled = over(schedule, edges)
    if weight_decay is not None:
        scaled = scaled * over(weight_decay, edges)
    alphas = scaled / (positive(timescale, "timescale") * steps)
    if (largest := float(alphas.max())) > 1:
        raise ForescaleError(
            f"learning_rate × weight_decay must be at most 1 in every step; got {largest:.3g} from timescale "
            f"{timescale:g} and {steps} steps: timescale × steps must be at least the largest factor."
        )
    return alphas


def _coefficients(alphas: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    later = np.cumprod((1 - alphas)[::-1])[::-1]
    return alphas * np.append(later[1:], 1.0)
