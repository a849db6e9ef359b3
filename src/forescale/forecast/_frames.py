"""Long frames in and out: unique_id, ds, y of any library, or a GluonTS data set, to series on a regular grid of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import narwhals
import numpy as np

from forescale.errors import ForescaleError
from forescale.forecast._series import Panel, Step, months_of

nw: Any = narwhals  # its types stop at `Any` in many places
MOST_HOLES = 0.5  # of a series' grid of time
LONE = "series"  # the name of a series in a frame without unique_id


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a panel came from: what a frame needs to be written back as it was read."""

    backend: Any = None  # the frame's library; None: polars
    kind: str = "datetime"  # of the times: datetime, date, number
    zone: str | None = None
    named: bool = True  # whether there was a column unique_id

    def frame(self, columns: Mapping[str, Any], times: Any, **more: Any) -> Any:
        """A frame of the library the panel came from; `times` and `more` are microseconds or numbers, and stand second."""
        columns = dict(columns)
        names = columns.pop("unique_id")
        first = {"unique_id": names} if self.named else {}
        moments = {"ds": times, **more}
        if self.kind != "number":
            moments = {name: each.astype("datetime64[us]") for name, each in moments.items()}
        made = nw.from_dict({**first, **moments, **columns}, backend=self.backend or "polars")
        for name in moments:
            if self.kind == "date":
                made = made.with_columns(nw.col(name).cast(nw.Date))
            if self.zone is not None:
                made = made.with_columns(nw.col(name).dt.replace_time_zone("UTC").dt.convert_time_zone(self.zone))
        return made.to_native()


def read_panel(data: Any, *, step: Step | None = None) -> tuple[Panel, Origin]:
    """Series of a long frame, or of an iterable of GluonTS entries (start, target); `step` is that of single values.

    Rows may come in any order. Times that are missing from a series become gaps, as NaN and null values are. Raises
    `ForescaleError` for columns that are missing or not numbers, infinite values, times that repeat or differ in step.
    """
    if hasattr(data, "__iter__") and not hasattr(data, "columns") and not isinstance(data, (str, bytes, Mapping)):
        from forescale.forecast._entries import from_entries

        panel = from_entries(cast("Iterable[Any]", data))
        return panel, Origin(kind="number" if panel.step.unit == "number" else "datetime")
    frame = _frame(data)
    if frame.shape[0] == 0:
        raise ForescaleError("the frame has no rows: give at least one series.")
    times, kind, zone = _times(frame["ds"])
    named = "unique_id" in frame.columns
    ids = frame["unique_id"].to_list() if named else [LONE] * len(times)
    values = _values(frame["y"], ids)
    origin = Origin(backend=frame.implementation, kind=kind, zone=zone, named=named)
    return _panel(_grouped(ids, times, values), kind, step), origin


def _frame(data: Any) -> Any:
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise ForescaleError(
            f"series come as an eager data frame (pandas, polars, pyarrow ...) or a GluonTS data set; got "
            f"{type(data).__name__}."
        ) from None
    if missing := [name for name in ("ds", "y") if name not in frame.columns]:
        absent = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise ForescaleError(
            f"a long frame has the columns unique_id, ds and y; {absent} from {', '.join(frame.columns)}: rename yours."
        )
    return frame


def _times(column: Any) -> tuple[np.ndarray[Any, Any], str, str | None]:
    """Microseconds or whole numbers, what kind they were, and their time zone."""
    dtype, zone, kind = column.dtype, None, "datetime"
    if column.null_count():
        raise ForescaleError("every row needs a time; ds is missing in some: leave those rows out.")
    if dtype == nw.String:
        column = _parsed(column)
    elif dtype == nw.Date:
        column, kind = column.cast(nw.Datetime("us")), "date"
    elif dtype.is_numeric():
        numbers: Any = column.to_numpy()
        if bool(((numbers % 1) != 0).any()):
            raise ForescaleError("ds must be times or whole numbers; got numbers with fractions.")
        return numbers.astype(np.int64), "number", None
    elif dtype != nw.Datetime:
        raise ForescaleError(f"ds must be times, dates or whole numbers; got {dtype}.")
    if column.dtype == nw.Datetime and column.dtype.time_zone is not None:
        zone = column.dtype.time_zone
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.dt.timestamp("us").to_numpy().astype(np.int64), kind, zone


def _parsed(column: Any) -> Any:
    try:
        return column.str.to_datetime()
    except Exception as error:  # each library has exceptions of its own
        raise ForescaleError(
            f"ds holds text that is no time, such as {column[0]!r}: write times as 2024-01-31T23:00."
        ) from error


def _values(column: Any, ids: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if column.null_count() == len(column):
        raise ForescaleError(f"y must hold numbers; all of its {len(column)} values are missing: give observed ones.")
    if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
        such = column.drop_nulls()[0]
        raise ForescaleError(f"y must be numbers; got {column.dtype} such as {such!r}: write a gap as null or NaN.")
    values = column.cast(nw.Float64).to_numpy().astype(np.float64)
    if len(found := np.flatnonzero(np.isinf(values))):
        raise ForescaleError(
            f"y must be finite; got {values[found[0]]} in series {ids[found[0]]!r}: write a gap as null or NaN."
        )
    return values


def _grouped(ids: Sequence[Any], times: Any, values: Any) -> dict[Any, tuple[Any, Any]]:
    """Times and values of each series in the order of time; series in the order in which they first appear."""
    known: dict[Any, int] = {}
    codes = np.array([known.setdefault(name, len(known)) for name in ids])
    order = np.lexsort((times, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(known) + 1))
    parts = [order[bounds[k] : bounds[k + 1]] for k in range(len(known))]
    return {name: (times[part], values[part]) for name, part in zip(known, parts, strict=True)}


def _panel(series: Mapping[Any, tuple[Any, Any]], kind: str, step: Step | None) -> Panel:
    steps = {name: found for name, (times, _) in series.items() if (found := _step(name, times, kind)) is not None}
    counts = list(steps.values())
    common = max(set(counts), key=counts.count) if counts else step
    if common is None:
        raise ForescaleError("the step between values is unknown: every series has a single value; give longer ones.")
    for name, found in steps.items():
        if found != common:
            raise ForescaleError(
                f"all series must have the same step; got {common} and, in series {name!r}, {found}: fit them apart."
            )
    gridded = {name: _on_grid(name, times, values, common) for name, (times, values) in series.items()}
    return Panel(
        ids=tuple(series),
        first=tuple(int(times[0]) for times, _ in series.values()),
        values=tuple(gridded.values()),
        step=common,
    )


def _step(name: Any, times: Any, kind: str) -> Step | None:
    """The most frequent distance between times that follow each other; None for a single one."""
    apart = np.diff(times)
    if len(apart) == 0:
        return None
    if (apart == 0).any():
        twice = int(times[1:][apart == 0][0])
        when = twice if kind == "number" else np.datetime64(twice, "us").astype("datetime64[s]")
        raise ForescaleError(f"a series has one value a time; got {when} twice in series {name!r}: leave one out.")
    if kind != "number" and (months := months_of(times)) is not None:
        count = _most_frequent(np.diff(months))
        return Step(count=count, unit="month")
    return Step(count=_most_frequent(apart), unit="number" if kind == "number" else "microsecond")


def _most_frequent(apart: Any) -> int:
    values, counts = np.unique(apart, return_counts=True)
    return int(values[counts.argmax()])


def _on_grid(name: Any, times: Any, values: Any, step: Step) -> Any:
    """Values on a grid without holes, NaN where the series has none."""
    if step.unit == "month":
        months = times.astype("datetime64[us]").astype("datetime64[M]").astype(int)
        place, rest = np.divmod(months - months[0], step.count)
    else:
        place, rest = np.divmod(times - times[0], step.count)
    if rest.any():
        raise ForescaleError(
            f"times must lie on a grid of the step; series {name!r} has most values {step} apart, but not all a multiple "
            "of it: bring it to one frequency first."
        )
    size = int(place[-1]) + 1
    if len(times) < (1 - MOST_HOLES) * size:
        raise ForescaleError(
            f"series {name!r} has more holes than values: most are {step} apart, but {len(times)} of {size} times are "
            "there; bring it to one frequency first."
        )
    grid = np.full(size, np.nan)
    grid[place] = values
    return grid
