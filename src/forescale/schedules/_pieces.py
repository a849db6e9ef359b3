"""Schedules of several pieces: drops, cycles, points."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from forescale.errors import ForescaleError
from forescale.schedules._check import Schedule, share, step_count, warmup_share
from forescale.schedules._decays import warmed

Pairs = Sequence[tuple[float, float]]
DROPS = ((0.8, 0.316), (0.9, 0.1))


def step(warmup: float = 0.1, drops: Pairs = DROPS) -> Schedule:
    """Warmup, the peak, then another factor from each drop on; `drops` are (progress, factor) in order.

    The default is that of DeepSeek LLM (2024, arXiv:2401.02954): 31.6 % of the peak after 80 % of the tokens, 10 %
    after 90 %. Raises `ForescaleError` for drops that do not rise in progress between the warmup and 1.
    """
    warmup, drops = warmup_share(warmup), _checked(drops, "drops")
    if not drops or not warmup < drops[0][0] or not drops[-1][0] < 1:
        raise ForescaleError(
            f"drops must lie after the warmup and before the end; got warmup {warmup:g} and drops at "
            f"{', '.join(f'{at:g}' for at, _ in drops) or 'no progress at all'}."
        )
    places, values = [at for at, _ in drops], [1.0, *(value for _, value in drops)]
    return warmed(warmup, lambda progress: values[bisect_right(places, progress)])


def cyclic(warmup: float = 0.1, cycles: int = 2, final: float = 0.0) -> Schedule:
    """Warmup, then `cycles` straight falls from the peak to `final`, with a rise as long between any two.

    The triangular policy of Smith 2017 (arXiv:1506.01186), begun at a peak and ended at the bottom.
    """
    warmup, final = warmup_share(warmup), share(final, "final")
    falls = step_count(cycles, "cycles")

    def after(progress: float) -> float:
        left = (1 - progress) / (1 - warmup) * (2 * falls - 1)  # in half cycles, from the end
        return final + (1 - final) * (1 - abs(left % 2 - 1))

    return warmed(warmup, after)


def points(pairs: Pairs) -> Schedule:
    """Straight lines between (progress, factor) points, from progress 0 to progress 1.

    Raises `ForescaleError` for points that do not rise in progress from 0 to 1, for factors outside [0, 1] and where
    every factor is 0.
    """
    pairs = _checked(pairs, "points")
    if len(pairs) < 2 or pairs[0][0] != 0 or pairs[-1][0] != 1:
        raise ForescaleError(
            f"points must begin at progress 0 and end at progress 1; got progress "
            f"{', '.join(f'{at:g}' for at, _ in pairs) or 'of no point'}: add the ends."
        )
    if not any(value for _, value in pairs):
        raise ForescaleError("a schedule must learn somewhere; got points whose factors are all 0.")
    places = [at for at, _ in pairs]

    def schedule(progress: float) -> float:
        progress = share(progress, "progress")
        right = min(bisect_right(places, progress), len(pairs) - 1)
        (start, first), (end, last) = pairs[right - 1], pairs[right]
        passed = (progress - start) / (end - start)
        return first * (1 - passed) + last * passed

    return schedule


def _checked(pairs: Pairs, name: str) -> tuple[tuple[float, float], ...]:
    if any(len(pair) != 2 for pair in pairs):
        raise ForescaleError(f"{name} are pairs of progress and factor; got {pairs!r}.")
    checked = tuple((share(at, f"progress of {name}"), share(value, f"factor of {name}")) for at, value in pairs)
    for (before, _), (after, _) in pairwise(checked):
        if before >= after:
            raise ForescaleError(f"{name} must rise in progress; got {after:g} after {before:g}: sort them.")
    return checked
