"""What to run next and what to recommend, both by expected loss gaps over the valleys that are likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.sweep.search._posterior import Posterior, posterior
from forescale.sweep.search._seen import Seen
from forescale.sweep.search._space import Axis, candidates, setting
from forescale.sweep.search._start import Start

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

LOST = 0.05  # what a diverged run counts for: it is seen early
TAILS = (0.1, 0.9)  # of an 80 % interval


@dataclass(frozen=True, kw_only=True)
class Next:
    """A setting to run, its expected gap, and by how much it is expected to lower the best run's gap (shares)."""

    learning_rate: float
    batch_tokens: float
    loss_gap: float
    improvement: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """The setting of the lowest expected gap, and 80 % intervals of where the optimum is."""

    learning_rate: float
    batch_tokens: float
    loss_gap: float
    optimum: tuple[tuple[float, float], tuple[float, float]]


def next_setting(start: Start, space: Sequence[Axis], seen: Seen, seed: Sequence[int]) -> Next:
    """The setting that is expected to lower the best run's gap most; the first one is that of the lowest expected gap.

    Runs without a loss yet count as runs, so that two asks at once do not look for the same thing.
    """
    points, gap, tried = _gaps(start, space, seen, seed)
    new, old = gap[:, : len(points)], gap[:, len(points) :]
    improvement = (old.min(1, initial=LOST)[:, None] - new).clip(0).mean(0)
    chosen = improvement.argmax() if len(tried) else new.mean(0).argmin()
    rate, batch = setting(start, space, points[chosen])
    return Next(
        learning_rate=rate,
        batch_tokens=batch,
        loss_gap=float(new[:, chosen].mean()),
        improvement=float(improvement[chosen]),
    )


def recommended(start: Start, space: Sequence[Axis], seen: Seen, seed: Sequence[int]) -> Found:
    """The setting that has the lowest expected gap after these runs, run or not."""
    import numpy as np

    points, gap, tried = _gaps(start, space, seen, seed)
    every = np.concatenate([points, tried])
    chosen = gap.mean(0).argmin()
    rate, batch = setting(start, space, every[chosen])
    (low_rate, low_batch), (high_rate, high_batch) = np.exp(
        start.logs(np.quantile(every[gap.argmin(1)], TAILS, axis=0))
    ).tolist()
    return Found(
        learning_rate=rate,
        batch_tokens=batch,
        loss_gap=float(gap[:, chosen].mean()),
        optimum=((low_rate, high_rate), (low_batch, high_batch)),
    )


def _gaps(start: Start, space: Sequence[Axis], seen: Seen, seed: Sequence[int]) -> tuple[Array, Array, Array]:
    """Candidates (m, 2), runs (n, 2), and in each likely valley all their gaps over the lowest of them (k, m + n)."""
    import numpy as np

    found: Posterior = posterior(start, seen, np.random.default_rng(seed))
    points, tried = candidates(space, found), seen.tried
    loss = found.functions(np.concatenate([points, tried]))
    return points, np.minimum(loss - loss.min(1, keepdims=True), LOST), tried
