"""What to run next and what to recommend, both by expected loss gaps over the valleys that are likely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.sweep.search._posterior import Posterior, posterior
from forescale.sweep.search._seen import Seen
from forescale.sweep.search._space import Axis, candidates, ends_of, setting
from forescale.sweep.search._start import Start
from forescale.sweep.search._valleys import gaps, optima_in

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
    """The setting that is expected to bring the best run most closer to the optimum.

    The best run is the one of the lowest observed loss, so noise counts: a run must be seen to be better. Runs without a
    loss yet count as if each valley's loss had been seen, so that two asks at once do not look for the same thing. The first
    setting is that of the lowest expected gap.
    """
    posed = _pose(start, space, seen, seed)
    improvement = _improvement(posed)
    chosen = (improvement.argmax() if len(seen.tried) else posed.gap.mean(0)[: len(posed.new)].argmin()).item()
    rate, batch = setting(start, space, posed.new[chosen])
    return Next(
        learning_rate=rate,
        batch_tokens=batch,
        loss_gap=float(posed.gap[:, chosen].mean()),
        improvement=float(improvement[chosen]),
    )


def recommended(start: Start, space: Sequence[Axis], seen: Seen, seed: Sequence[int]) -> Found:
    """The setting that has the lowest expected gap after these runs, run or not."""
    import numpy as np

    posed = _pose(start, space, seen, seed)
    every = np.concatenate([posed.new, seen.tried])
    chosen = posed.gap.mean(0).argmin()
    rate, batch = setting(start, space, every[chosen])
    (low_rate, low_batch), (high_rate, high_batch) = np.exp(
        start.logs(np.quantile(every[posed.gap.argmin(1)], TAILS, axis=0))
    ).tolist()
    return Found(
        learning_rate=rate,
        batch_tokens=batch,
        loss_gap=float(posed.gap[:, chosen].mean()),
        optimum=((low_rate, high_rate), (low_batch, high_batch)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Posed:
    """Candidates (m, 2), and at them and then the runs (n of them) ln losses and gaps in each likely valley (k, m + n)."""

    new: Array
    seen: Seen
    loss: Array
    gap: Array  # over the lowest of them
    noise: float


def _pose(start: Start, space: Sequence[Axis], seen: Seen, seed: Sequence[int]) -> _Posed:
    import numpy as np

    found: Posterior = posterior(start, seen, np.random.default_rng(seed))
    new = candidates(space, found)
    loss, floors, noise = found.losses(np.concatenate([new, seen.tried]))
    # A valley's own optimum in the box may lie between the candidates.
    optima = optima_in(found.valleys, ends_of(space, start), start.shape)
    lowest = np.minimum(loss.min(1), floors + gaps(found.valleys, optima[:, None], start.shape)[:, 0])
    gap = np.minimum(loss - lowest[:, None], LOST)
    return _Posed(new=new, seen=seen, loss=loss, gap=gap, noise=noise)


def _improvement(posed: _Posed) -> Array:
    """(m,) by how much the gap of the run that looks best is expected to fall when each candidate is run."""
    import numpy as np
    from scipy.special import ndtr

    count = len(posed.new)
    if not len(posed.seen.tried):
        return (LOST - posed.gap[:, :count]).mean(0)
    finished = len(posed.seen.points)
    looks = posed.loss[:, count:].copy()
    looks[:, :finished] = posed.seen.gap
    best = looks.argmin(1)[:, None]
    chance = ndtr((np.take_along_axis(looks, best, 1) - posed.loss[:, :count]) / posed.noise)
    now = np.take_along_axis(posed.gap[:, count:], best, 1)
    return (chance * (now - posed.gap[:, :count])).mean(0)
