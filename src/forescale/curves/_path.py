"""A schedule as the laws see it: knots, the rate between them, and where it drops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

KNOTS = 300  # of a path: longer ones are thinned
DROPS = 100  # of a path: drops that follow closely are merged
JUMP = 0.05  # of the peak: a fall from one record to the next that may be a jump
STEEP = 8.0  # times the falls around it: then it is one
AFTER = 10  # knots that follow a jump in doubling distance


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """A schedule in units of a reference: `time` (steps), `rate` (learning rate) at n knots.

    `held` is the mean rate of the interval that ends at a knot, the first one's that of the warmup before the record begins;
    `starts` and `ends` are the knots between which each of the merged drops lies.
    """

    time: Array
    rate: Array
    held: Array
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    widths: Array  # from the knot before, the first one's from 0
    happened: NDArray[np.bool_]  # (knots, drops)


def path_of(step: Array, learning_rate: Array, *, time_unit: float, rate_unit: float) -> Path:
    """The path of a checked schedule. A fall much steeper than those around it happens at the later record, at once."""
    import numpy as np

    jumps = _jumps(learning_rate)
    held = np.concatenate([[learning_rate[0] / 2], (learning_rate[1:] + learning_rate[:-1]) / 2])
    held[jumps] = learning_rate[jumps - 1]
    area = np.cumsum(held * np.diff(step, prepend=0.0))
    kept = _kept(step, jumps)
    time = step[kept] / time_unit
    rate = learning_rate[kept] / rate_unit
    widths = np.diff(step[kept], prepend=0.0)
    mean = np.diff(area[kept], prepend=0.0) / np.where(widths > 0, widths, 1.0) / rate_unit
    starts, ends = _drops(time, rate, np.searchsorted(kept, jumps))
    happened = np.arange(len(time))[:, None] >= ends[None, :]
    widths = widths / time_unit
    return Path(time=time, rate=rate, held=mean, starts=starts, ends=ends, widths=widths, happened=happened)


def piecewise(path: Path, rate: Array) -> Path:
    """The same knots with other rates, straight between them, every piece a drop of its own."""
    import numpy as np

    ends = np.arange(1, len(rate))
    held = np.concatenate([[rate[0] / 2], (rate[1:] + rate[:-1]) / 2])
    happened = np.arange(len(rate))[:, None] >= ends[None, :]
    return replace(path, rate=rate, held=held, starts=ends - 1, ends=ends, happened=happened)


def _jumps(rates: Array) -> NDArray[np.intp]:
    """The records at which the rate has just fallen at once."""
    import numpy as np

    falls = -np.diff(rates)
    around = np.maximum(np.abs(np.append(0.0, falls[:-1])), np.abs(np.append(falls[1:], 0.0)))
    return np.flatnonzero((falls > JUMP * rates.max()) & (falls > STEEP * around)) + 1


def _kept(step: Array, jumps: NDArray[np.intp]) -> NDArray[np.intp]:
    """The records that become knots: all, or of many some, those before and after a jump among them."""
    import numpy as np

    count = len(step)
    if count <= KNOTS:
        return np.arange(count)
    after = (jumps[:, None] + np.append(-1, 2 ** np.arange(AFTER) - 1)[None, :]).ravel()
    spread = np.linspace(0, count - 1, KNOTS).round().astype(int)
    early = np.geomspace(1, count - 1, AFTER * 3).round().astype(int)
    return np.unique(np.concatenate([spread, early, after[(after >= 0) & (after < count)]]))


def _drops(time: Array, rate: Array, jumps: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Falling stretches, at most about `DROPS`, each with the share of time and of fall that is its due."""
    import numpy as np

    falls = np.maximum(-np.diff(rate), 0.0)
    falling = np.flatnonzero(falls) + 1
    if not len(falling):
        return falling, falling
    measure = np.cumsum(falls / falls.sum() + np.diff(time) / (time[-1] - time[0]))
    even: NDArray[np.intp] = np.searchsorted(measure, np.linspace(0, float(measure[-1]), DROPS)) + 1
    edges = np.unique(np.clip(np.concatenate([np.zeros(1, int), even, jumps, jumps - 1]), 0, len(time) - 1))
    fallen = np.add.reduceat(falls, edges[:-1]) > 0
    starts, ends = edges[:-1][fallen], edges[1:][fallen]
    return np.where(np.isin(ends, jumps), ends, starts), ends
