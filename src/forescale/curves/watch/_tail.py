"""How rare a value is on a healthy log: peaks over a threshold, learnt from clean logs first and from this one as it goes.

Peaks above a floor are counted, and what they exceed it by is taken as exponential (the peaks-over-threshold method of extreme
value theory, as in Siffer et al. 2017, with the shape 0). So a rarity is in false alarms per 10,000 records, also beyond
anything seen, and a log of heavy tails gets wider limits by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from forescale.curves.watch._prior import Tail

if TYPE_CHECKING:
    from forescale.curves.watch._scan import Statistic

PER = 10_000  # records
RECORDS, PEAKS = 3000.0, 10.0  # of clean logs, that the first belief counts as
BURN_IN = 200  # records at the start that are not judged


class Alarm(NamedTuple):
    """A peak: the record that gave the alarm, the highest of the peak, its value, and how rare it is."""

    first: int
    at: int
    value: float
    false_alarms: float  # per 10,000 records, of this value


def alarms(statistic: Statistic, tail: Tail, most: float) -> list[Alarm]:
    """The peaks that are rarer than `most` false alarms per 10,000 records, judged by what came before each."""
    found: list[Alarm] = []
    peaks, total, last = 0.0, 0.0, -(10**9)
    for first, top, values, places in _peaks(statistic, tail.floor):
        rate = (peaks + RECORDS * tail.rate) / (first + RECORDS)
        excess = (total + PEAKS * tail.excess) / (peaks + PEAKS)
        limit = max(tail.floor + excess * math.log(max(PER * rate / most, 1.0)), tail.floor)
        height = values[top]
        peaks += 1
        total += min(height, limit) - tail.floor
        over = [i for i, value in enumerate(values) if value > limit]
        if over and places[over[0]] >= BURN_IN and places[over[0]] - last > statistic.apart:
            rarity = PER * rate * math.exp(-(height - tail.floor) / excess)
            found.append(Alarm(places[over[0]], places[top], height, max(rarity, 1e-12)))
        if over:
            last = places[-1]
    return found


def _peaks(statistic: Statistic, floor: float) -> list[tuple[int, int, list[float], list[int]]]:
    """Stretches above the floor: the first record, the place of the highest, and the values with their records."""
    import numpy as np

    above = np.flatnonzero(statistic.value > floor)
    if not len(above):
        return []
    places = statistic.at[above]
    groups = np.split(above, np.flatnonzero(np.diff(places) > statistic.apart) + 1)
    made: list[tuple[int, int, list[float], list[int]]] = []
    for group in groups:
        values: list[float] = statistic.value[group].tolist()
        made.append((int(statistic.at[group[0]]), int(np.argmax(values)), values, statistic.at[group].tolist()))
    return made
