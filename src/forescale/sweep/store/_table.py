"""A store's runs as a table that `read_runs` reads: one row a run, the columns of a runs table first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.runs._readers._forescale import LEFT_OUT
from forescale.sweep._job import COLUMNS

if TYPE_CHECKING:
    import polars

    from forescale.sweep.store._entry import Entry

FIRST = ("params", "active_params", "tokens", "learning_rate", "batch_tokens", "loss")
STORE = ("state", "key", "design", "attempts", "started", "ended", "problem")


def table_of(entries: Sequence[Entry]) -> polars.DataFrame:
    """One row an entry. A run that did not end as planned belongs to the tokens and steps it was planned for."""
    from forescale.runs._readers._source import table_of

    records = [_record(entry) for entry in entries]
    known = dict.fromkeys(key for record in records for key in record)
    first = [name for name in (*FIRST, *COLUMNS) if name in known]
    order = dict.fromkeys((*first, *known))
    return table_of([dict.fromkeys(order) | record for record in records])


def _record(entry: Entry) -> dict[str, Any]:
    planned, outcome = _plain(entry.job.row), entry.outcome
    measured: dict[str, Any] = {} if outcome is None else _plain(outcome.row)
    settings = measured | planned if entry.state != "done" else planned | measured
    if "batch_tokens" in settings:
        settings.pop("batch_sequences", None)  # the same, said twice
    if entry.state != "done" and "steps" in measured:
        settings["steps_taken"] = measured["steps"]
    loss = math.nan if outcome is None else outcome.loss
    return {
        "compute": entry.job.compute,
        **settings,
        "loss": None if math.isnan(loss) else loss,
        **{name: getattr(entry, name) for name in STORE[:-1]},
        "problem": outcome.problem if outcome is not None and outcome.problem else None,
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What fits into a cell and belongs into a runs table."""
    return {
        name: value
        for name, value in row.items()
        if name not in LEFT_OUT - {"batch_sequences"} and not isinstance(value, Mapping | list | tuple)
    }
