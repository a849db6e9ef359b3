"""Statistics of a log that rise where something happens: each compares the last records with what came before them.

All are causal, in units of the log's own noise, and robust: a record far off moves neither the level nor the noise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MEMORY, SLOPE_MEMORY, NOISE_MEMORY = 100, 400, 200  # records, of the level, its slope and the noise
CLIP = 3.0  # noise scales beyond which a record teaches no more
SHORT, LONG = 8, 64  # records of a spike, and of a level
BELOW, ABOVE = -4.0, 8.0  # what one record can weigh in the mean of SHORT
WINDOW, LEAST = 3, 256  # a slope is that of the last third of the records, of so many at least
USUAL = 0.3  # ln growth of a gradient norm that a rate on its way to zero brings by itself
BLOCKS = 24  # means that a line is drawn through
OUTLYING = 3.0  # of their robust standard deviations, beyond which a mean does not count


class Smoothed(NamedTuple):
    """Residuals of a causal line in units of the noise then, the records with the outliers clipped, and the noise."""

    residual: Array
    tame: Array
    noise: Array


class Statistic(NamedTuple):
    """Values at records (places in the log), and how many records apart two of them are two alarms."""

    at: NDArray[np.intp]
    value: Array
    apart: int


def smoothed(values: Array) -> Smoothed:
    """A level with a slope (Holt's), each forecasting the next record; clipped residuals teach level, slope and noise."""
    import numpy as np

    rows: list[tuple[float, float, float]] = []
    start = values[:20]
    level, slope = float(np.median(start)), 0.0
    noise = max(float(np.abs(np.diff(values[:40])).mean()) * 0.886, 1e-9) if len(values) > 1 else 1e-9
    for count, value in enumerate(values.tolist(), 1):
        expected = level + slope
        off = value - expected
        taken = min(max(off, -CLIP * noise), CLIP * noise)
        rows.append((off / noise, expected + taken, noise))
        gain = max(1 / MEMORY, 1 / count)
        level = expected + gain * taken
        slope += gain * max(1 / SLOPE_MEMORY, 1 / count) * taken
        slope *= 1 - 1 / (count + 1)  # a line in ln(record) flattens so
        noise = max(noise + max(1 / NOISE_MEMORY, 1 / (count + 9)) * (1.2533 * abs(taken) - noise), 1e-9)
    table = np.array(rows).reshape(-1, 3)
    return Smoothed(table[:, 0], table[:, 1], table[:, 2])


def one_record(line: Smoothed) -> Statistic:
    """The residual of each record: a loss spike of one step."""
    import numpy as np

    return Statistic(np.arange(len(line.residual)), line.residual, 1)


def few_records(line: Smoothed) -> Statistic:
    """The sum of the last SHORT residuals over its standard deviation: a loss spike of several steps."""
    import numpy as np

    clipped = np.clip(line.residual, BELOW, ABOVE)
    sums = np.convolve(clipped, np.ones(SHORT), "valid") / math.sqrt(SHORT)
    return Statistic(np.arange(SHORT - 1, len(clipped))[: len(sums)], sums, SHORT)


def level(line: Smoothed, sign: float) -> Statistic:
    """The median of the last LONG residuals over its standard deviation: a level that stays changed, up or down."""
    import numpy as np

    if len(line.residual) < LONG:
        return Statistic(np.empty(0, int), np.empty(0), LONG)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(line.residual, LONG), axis=1)
    return Statistic(np.arange(LONG - 1, len(line.residual)), sign * medians * math.sqrt(LONG) / 1.2533, LONG)


def growth(norm: Array) -> Statistic:
    """The rise of the ln gradient norm over the last third of the records, its last quarter against its first."""
    import numpy as np

    values = np.log(np.maximum(norm, 1e-12))
    line = smoothed(values)
    at = grid(len(values))
    found: list[float] = []
    for now in at.tolist():
        part = max(now // WINDOW, LEAST) // 4
        rise = np.median(values[now + 1 - part : now + 1]) - np.median(values[now + 1 - 4 * part : now + 1 - 3 * part])
        found.append((float(rise) - USUAL) / (float(line.noise[now]) * 1.2533 * math.sqrt(2 / part)))
    return Statistic(at, np.array(found), LEAST)


def no_progress(line: Smoothed) -> Statistic:
    """How surely the loss falls by less than a third of what it did before, per doubling of the steps."""
    import numpy as np

    at = grid(len(line.tame))
    found: list[float] = []
    for now in at.tolist():
        width = max(now // WINDOW, LEAST)
        before, old_error = _slope(line.tame, max((now - width) // 4, 8), now - width, float(line.noise[now]))
        after, error = _slope(line.tame, now - width, now, float(line.noise[now]))
        due = min(before + 2 * old_error, 0.0) / 3
        found.append((after - due) / error if due < -2 * error else -9.0)
    return Statistic(at, np.array(found), LEAST)


def grid(count: int) -> NDArray[np.intp]:
    """Records at which slow statistics are taken: more sparsely the more there are behind them."""
    import numpy as np

    at: list[int] = []
    now = 3 * LEAST
    while now < count:
        at.append(now)
        now += max(16, now // 100)
    return np.array(at, int)


def _slope(values: Array, first: int, last: int, noise: float) -> tuple[float, float]:
    """The slope over ln(record) between two records, and its standard error by the noise of a record."""
    import numpy as np

    edges = np.unique(np.linspace(first, last, BLOCKS + 1).astype(int))
    means = np.add.reduceat(values[: last + 1], edges[:-1])[: len(edges) - 1]
    counts = np.diff(edges)
    means[-1] -= values[last]
    x, y = np.log((edges[:-1] + edges[1:]) / 2 + 1), means / counts
    slope, height = _line(x, y)
    off = np.abs(y - height - slope * x)
    kept = off <= OUTLYING * 1.4826 * max(float(np.median(off)), 1e-12)  # a spike, or the first of a new level
    spread = float(np.sum((x[kept] - x[kept].mean()) ** 2))
    return _line(x[kept], y[kept])[0], noise / math.sqrt(float(counts.mean()) * spread)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and height of the least squares line."""
    middle = x - x.mean()
    slope = float(middle @ y) / float(middle @ middle)
    return slope, float(y.mean() - slope * x.mean())
