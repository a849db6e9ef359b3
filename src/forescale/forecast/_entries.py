"""Data sets of GluonTS: entries with a start and a target, to series on a regular grid of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, cast

import numpy as np

from forescale.errors import ForescaleError
from forescale.forecast._series import Panel, Step, months_of


def from_entries(entries: Iterable[Any]) -> Panel:
    """Series of entries: `start` is a period of pandas, `target` the values; `item_id` names a series."""
    ids: list[Any] = []
    series: list[tuple[int, Step, Any]] = []
    for number, entry in enumerate(entries):
        if not (isinstance(entry, Mapping) and "start" in entry and "target" in entry):
            raise ForescaleError(
                f"a data set holds entries with start and target, as GluonTS's; got {_said(entry)}: or give a long frame "
                "with unique_id, ds and y."
            )
        found = cast("Mapping[str, Any]", entry)
        ids.append(found.get("item_id", number))
        series.append((*_start(found["start"]), _target(found["target"], ids[-1])))
    if not series:
        raise ForescaleError("the data set is empty: give at least one series.")
    steps = {step for _, step, _ in series}
    if len(steps) > 1:
        raise ForescaleError(f"all series must have the same step; got {' and '.join(sorted(map(str, steps)))}.")
    step, values = steps.pop(), tuple(target for _, _, target in series)
    return Panel(ids=tuple(ids), first=tuple(first for first, _, _ in series), values=values, step=step)


def _said(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return f"one with {', '.join(map(str, cast('Mapping[Any, Any]', entry)))}"
    return f"one of type {type(entry).__name__}"


def _target(target: Any, name: Any) -> Any:
    values = np.array(target, dtype=np.float64)  # a copy: arrays of pandas may be read-only, which PyTorch cannot be
    if values.ndim != 1:
        raise ForescaleError(
            f"a target is one series; got {values.ndim} dimensions in {name!r}: give each its own entry."
        )
    if np.isinf(values).any():
        raise ForescaleError(f"a target must be finite; got an infinite value in {name!r}: write a gap as NaN.")
    return values


def _start(period: Any) -> tuple[int, Step]:
    """Microseconds of a pandas period's start, and the step to the next; business days are counted instead."""
    if not hasattr(period, "ordinal"):
        raise ForescaleError(
            f"start is a period of pandas, as GluonTS's; got {period!r}: take pandas.Period(time, freq=...)."
        )
    moments = np.array([np.datetime64((period + k).to_timestamp().to_pydatetime(), "us") for k in range(8)])
    times = moments.astype(np.int64)
    months = months_of(times)
    if months is not None:
        return int(times[0]), Step(count=int(months[1] - months[0]), unit="month")
    if len(apart := set(np.diff(times))) > 1:
        return int(period.ordinal), Step(count=1, unit="number")
    return int(times[0]), Step(count=int(apart.pop()), unit="microsecond")


def frequency_step(freq: str) -> Step:
    """The step of a frequency as pandas writes it; `ForescaleError` where it is none."""
    pandas: Any = import_module("pandas")  # its types are not installed with it

    try:
        return _start(pandas.Period("2024-01-01", freq=freq))[1]
    except (ValueError, TypeError) as error:
        raise ForescaleError(
            f"freq must be a frequency of pandas such as 'h', 'D' or 'M'; got {freq!r}: {error}."
        ) from None
