"""What every reader returns: a table of runs under the source's own names, and what the reader knows about it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from forescale.runs._columns import LAST_STEP, PEAK, SMOOTHED, is_called, is_training_loss
from forescale.runs._final_loss import final_loss

if TYPE_CHECKING:
    import polars

NAME, STATE = "run", "run_state"
MAX_KEYS, MAX_DEPTH = 20_000, 16  # of one run's settings: beyond, the file is no run's

Curve = tuple[Sequence[float], Sequence[float]]  # steps, values


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of runs under the source's own names, one row a run."""

    table: polars.DataFrame
    name: str  # what messages call it
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict[str, str])  # our name -> column, as the tool defines it
    label: str | None = None  # the column that names the runs; None: rows of a file
    nan_diverges: bool = False  # whether NaN is what was measured; in a plain table it also stands for a missing value
    hint: str = ""  # what to do where a column is missing


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a store. Curves are steps and values by the metric's name."""

    name: str
    settings: Mapping[str, Any]
    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])
    state: str | None = None


def source_of(
    runs: Sequence[Run],
    name: str,
    *,
    notes: tuple[str, ...] = (),
    columns: Mapping[str, str] | None = None,
    hint: str = "",
) -> Source:
    """The runs of a store as a table; curves become their last value, a smoothed training loss and a peak."""
    records = [_record(run) for run in runs]
    return Source(
        table=table_of(records),
        name=name,
        notes=notes,
        columns=columns or {},
        label=NAME,
        nan_diverges=True,
        hint=hint,
    )


def _record(run: Run) -> dict[str, Any]:
    record = {NAME: run.name, **({STATE: run.state} if run.state else {}), **run.settings}
    record |= {key: curve[1][-1] for key, curve in run.curves.items() if len(curve[1])}
    record |= run.results
    return {**dict(_from_curves(run)), **record}


def _from_curves(run: Run) -> Iterator[tuple[str, float]]:
    """What a curve says beyond its last value."""
    losses = {key: curve for key, curve in run.curves.items() if is_called(key, "loss") and len(curve[1])}
    training = _best([key for key in losses if is_training_loss(key)])
    if training is not None:
        yield SMOOTHED, final_loss(losses[training][1], losses[training][0])
    if losses:
        yield LAST_STEP, max(max(steps) for steps, _ in losses.values())
    if not any(is_called(key, "learning_rate") for key in run.settings):
        rates = [rate for key, (_, values) in run.curves.items() if _is_rate(key) for rate in values]
        if finite := [rate for rate in rates if math.isfinite(rate)]:
            yield PEAK, max(finite)


def _best(keys: Sequence[str]) -> str | None:
    """The training loss that is best known by that name: `train/loss` before `train/train_loss`, an average."""
    return min(keys, key=lambda key: (key.count("loss"), len(key)), default=None)


def _is_rate(key: str) -> bool:
    """A logged learning rate; Lightning writes `lr-AdamW`, OLMo `optim/learning_rate_group0`."""
    last = key.rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower().replace("-", "_")
    return is_called(key, "learning_rate") or last.startswith(("lr_", "learning_rate"))


def table_of(records: Sequence[Mapping[str, Any]]) -> polars.DataFrame:
    """Records as a table: a column is of numbers where every value is one, else of text."""
    import polars as pl

    keys = dict.fromkeys(key for record in records for key in record)
    return pl.DataFrame([_series(key, [record.get(key) for record in records]) for key in keys])


def _series(key: str, values: list[Any]) -> polars.Series:
    import polars as pl

    kinds: set[Any] = {type(value) for value in values if value is not None}
    if kinds <= {int} and all(value is None or abs(value) < 2**53 for value in values):
        return pl.Series(key, values, dtype=pl.Int64)
    if kinds <= {int, float}:
        return pl.Series(key, [_float(value) for value in values], dtype=pl.Float64)
    return pl.Series(key, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _float(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return math.inf


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def flatten(values: Mapping[Any, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Nested settings as one level of `outer.inner` keys; lists become text, empty values are left out."""
    flat: dict[str, Any] = {}
    for key, value in _walk(values, prefix, separator, 0):
        if len(flat) >= MAX_KEYS:
            break
        flat[key] = value
    return flat


def _walk(values: Mapping[Any, Any], prefix: str, separator: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth < MAX_DEPTH:
            yield from _walk(cast("dict[Any, Any]", value), name + separator, separator, depth + 1)
        elif isinstance(value, (list, tuple, dict)):
            yield name, _text(value)[:10_000]
        elif value is not None:
            yield name, value if isinstance(value, (bool, int, float, str)) else str(value)


def number(value: Any) -> float | None:
    """A number, also one that a tool wrote as text (NaN, Infinity); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
