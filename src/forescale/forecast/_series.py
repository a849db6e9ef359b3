"""Series on regular grids of time: their step, their names, and what the calendar says of each of their times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SECOND = 1_000_000  # times are kept in microseconds
DAY = 86_400 * SECOND
WEEK = 7 * DAY
MONDAY = 4 * DAY  # the first Monday of 1970 was the fifth of January
LONGEST_SEASON = 1024  # steps


@dataclass(frozen=True, kw_only=True)
class Step:
    """The time between two values: whole numbers, microseconds, or calendar months."""

    count: int
    unit: Literal["number", "microsecond", "month"]

    def __str__(self) -> str:
        if self.unit == "month":
            return f"{self.count} months" if self.count > 1 else "1 month"
        if self.unit == "number":
            return f"{self.count}"
        for size, name in ((DAY, "days"), (3600 * SECOND, "hours"), (60 * SECOND, "minutes"), (SECOND, "seconds")):
            if self.count % size == 0:
                return f"{self.count // size} {name}"
        return f"{self.count} microseconds"

    @property
    def season(self) -> int:
        """Steps of the natural season: a day, a week or a year; 1 where there is none."""
        if self.unit == "month":
            return max(12 // self.count, 1)
        if self.unit == "number":
            return 1
        for period in (DAY, WEEK, 364 * DAY):
            if self.count < period and period % self.count == 0:
                season = period // self.count
                return season if season <= LONGEST_SEASON else 1
        return 1

    @property
    def calendar(self) -> int:
        """How many calendar inputs there are."""
        return sum(2 * len(orders) for orders in self._phases().values())

    def _phases(self) -> dict[str, tuple[int, ...]]:
        """The phases that mean something for values so far apart, and the harmonics of each."""
        if self.unit == "number":
            return {}
        apart = self.count if self.unit == "microsecond" else self.count * 30 * DAY
        phases: dict[str, tuple[int, ...]] = {}
        if apart < DAY:
            phases["day"] = (1, 2, 3)
        if apart < WEEK:
            phases["week"] = (1, 2, 3)
        if DAY <= apart < 300 * DAY:
            phases["year"] = (1, 2)
        return phases

    def times(self, first: int, start: int, stop: int) -> NDArray[np.int64]:
        """Times of the steps `start` to `stop` counted from the time `first`, in microseconds or whole numbers."""
        steps = np.arange(start, stop, dtype=np.int64)
        if self.unit != "month":
            return first + steps * self.count
        moment = np.datetime64(first, "us")
        month = moment.astype("datetime64[M]")
        day = int((moment.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64))
        months: Any = month + steps * self.count
        last: Any = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]") - 1
        last = last.astype(np.int64)
        ends = day == int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)) - 1
        days: Any = months.astype("datetime64[D]") + (last if ends else np.minimum(day, last))
        return days.astype("datetime64[us]").astype(np.int64) + first % DAY

    def features(self, times: NDArray[np.int64]) -> NDArray[np.float32]:
        """Calendar inputs of times, [times, calendar]."""
        columns: list[Any] = []
        for name, orders in self._phases().items():
            phase = _phase(name, times)
            for order in orders:
                columns += [np.sin(2 * math.pi * order * phase), np.cos(2 * math.pi * order * phase)]
        return np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(times), 0), np.float32)


def _phase(name: str, times: NDArray[np.int64]) -> Any:
    if name == "day":
        return (times % DAY) / DAY
    if name == "week":
        return ((times - MONDAY) % WEEK) / WEEK
    return (times / (365.2425 * DAY)) % 1


def months_of(times: Any) -> Any:
    """Months since 1970 of times that stand on one day of the month, or on its last; None for others."""
    if (np.diff(times) < 28 * DAY).any():
        return None
    days = times.astype("datetime64[us]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(int)
    left = ((months + 1).astype("datetime64[D]") - days).astype(int)
    if len(set(times % DAY)) > 1 or (len(set(day)) > 1 and len(set(left)) > 1):
        return None
    return months.astype(int)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Series that share a step: values without holes in time, NaN where none was observed."""

    ids: tuple[Any, ...]
    first: tuple[int, ...]  # time of each series' first value
    values: tuple[Floats, ...]
    step: Step

    def __post_init__(self) -> None:
        for name, values in zip(self.ids, self.values, strict=True):
            if not np.isfinite(values).any():
                raise ForescaleError(f"series {name!r} has no observed value: leave it out.")

    def calendar(self, number: int, start: int, stop: int) -> NDArray[np.float32]:
        """Calendar inputs of a series' steps `start` to `stop`, which may lie before its first or after its last."""
        return self.step.features(self.step.times(self.first[number], start, stop))

    def until(self, ends: Sequence[int]) -> Panel:
        """The same series cut off after so many values each."""
        kept = tuple(values[:end] for values, end in zip(self.values, ends, strict=True))
        return Panel(ids=self.ids, first=self.first, values=kept, step=self.step)
