"""What forecasters answer with: names of columns, times to come, frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.forecast._frames import Origin
    from forescale.forecast._options import Options
    from forescale.forecast._series import Panel


def interval_columns(name: str, level: Sequence[float]) -> dict[str, float]:
    """Column -> quantile: the median, then both ends of each central interval (per cent)."""
    for each in _numbers(level, "level"):
        if not 0 < each < 100:
            raise ForescaleError(f"an interval holds more than 0 and less than 100 per cent; got {each}.")
    ends = [
        (f"{name}-{side}-{each:g}", 0.5 + sign * each / 200) for each in level for side, sign in (("lo", -1), ("hi", 1))
    ]
    return {name: 0.5, **dict(ends)}


def quantile_columns(quantiles: Sequence[float]) -> dict[str, float]:
    """Column -> quantile: q0.1 and so on."""
    for share in _numbers(quantiles, "quantiles"):
        if not 0 < share < 1:
            raise ForescaleError(f"a quantile lies between 0 and 1; got {share}.")
    return {f"q{share:g}": share for share in quantiles}


def _numbers(values: Any, name: str) -> Sequence[float]:
    if isinstance(values, (str, Real)) or not all(isinstance(each, Real) for each in values):
        raise ForescaleError(f"{name} must be a list of numbers; got {values!r}: write {name}=({values},).")
    return values


def future(panel: Panel, horizon: int, repeats: int = 1) -> tuple[Any, list[Any]]:
    """Times and names of the values after each series' end, the whole horizon so many times."""
    ends = [
        panel.step.times(first, len(v), len(v) + horizon) for first, v in zip(panel.first, panel.values, strict=True)
    ]
    names = [name for name in panel.ids for _ in range(horizon * repeats)]
    return np.concatenate([np.tile(times, repeats) for times in ends]), names


def supported(options: Options, panel: Panel, series: Sequence[int], origins: Sequence[int], drawn: Any) -> Any:
    """Whole numbers for series that had no others so far, and none below 0 for those that never were."""
    for row, (number, origin) in enumerate(zip(series, origins, strict=True)):
        past = panel.values[number][:origin]
        past = past[np.isfinite(past)]
        if options.integers and bool((past == np.round(past)).all()):
            drawn[row] = np.round(drawn[row])
        if options.nonnegative and bool((past >= 0).all()):
            drawn[row] = np.maximum(drawn[row], 0)
    return drawn


def value_frame(panel: Panel, origin: Origin, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Numbers of each series' values, long: unique_id, ds, y and the columns. NaN becomes null; gaps are left out."""
    rows: list[Any] = [np.flatnonzero(np.isfinite(values)) for values in panel.values]
    names = [name for name, row in zip(panel.ids, rows, strict=True) for _ in row]
    times = [panel.step.times(first, 0, len(v))[r] for first, v, r in zip(panel.first, panel.values, rows, strict=True)]

    def long(each: Sequence[Any]) -> Any:
        return np.concatenate([values[row] for values, row in zip(each, rows, strict=True)])

    made = {name: _nullable(long(each)) for name, each in columns.items()}
    return origin.frame({"unique_id": names, "y": long(panel.values), **made}, np.concatenate(times))


def _nullable(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
