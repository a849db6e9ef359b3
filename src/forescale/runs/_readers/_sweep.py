"""The store of a sweep of this package: its SQLite file, read without SQLAlchemy and without changing it.

The tables are those of `forescale.sweep.store`, whose own table is made of this module's records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.runs._readers._forescale import LEFT_OUT
from forescale.runs._readers._source import Source, table_of
from forescale.runs._readers._sqlite import read_only, rows, tables

TABLES = frozenset({"forescale_store", "forescale_runs"})
NEEDED = ("key", "state", "job", "outcome")
KEPT = ("state", "key", "design", "attempts", "started", "ended")  # what the store itself knows of a run


def read_database(path: Path) -> Source:
    """All runs of a store, with their states; those that were not measured are left out by who reads the table."""
    with read_only(path) as connection:
        has = tables(connection)["forescale_runs"]
        if not has >= set(NEEDED):
            raise ForescaleError(f"{path} is a store of a version that is not known: pip install --upgrade forescale.")
        names = [*dict.fromkeys((*NEEDED, *(name for name in KEPT if name in has)))]
        found = rows(connection, f"SELECT {', '.join(names)} FROM forescale_runs ORDER BY number")
    if not found:
        raise ForescaleError(f"the store {path} has no runs: `forescale sweep` makes them.")
    records = [_read(dict(zip(names, row, strict=True)), path) for row in found]
    return Source(table=table_of(records), name=path.name, label="key")


def _read(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        job, outcome = (json.loads(found[name] or "null") for name in ("job", "outcome"))
        return sweep_record(job["row"], job["compute"], outcome, {name: found.get(name) for name in KEPT})
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise ForescaleError(
            f"run {found['key']!r} of the store {path} is damaged: its job or outcome is none."
        ) from None


def sweep_record(
    planned: Mapping[str, Any], compute: float, outcome: Mapping[str, Any] | None, kept: Mapping[str, Any]
) -> dict[str, Any]:
    """A run's row. One that did not end as planned belongs to the tokens and steps it was planned for.

    `outcome` has `loss` (NaN: none), `row` and `problem`.
    """
    measured, ended = _plain({} if outcome is None else outcome["row"]), kept["state"] == "done"
    if not ended and "steps" in measured:
        measured["steps_taken"] = measured.pop("steps")
    settings = _plain(planned) | measured if ended else measured | _plain(planned)
    if "batch_tokens" in settings:
        settings.pop("batch_sequences", None)  # the same, said twice
    loss = math.nan if outcome is None else float(outcome["loss"])
    problem = None if outcome is None else outcome["problem"] or None
    return {"compute": compute, **settings, "loss": None if math.isnan(loss) else loss, **kept, "problem": problem}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What fits into a cell and belongs into a runs table."""
    return {
        name: value
        for name, value in row.items()
        if name not in LEFT_OUT - {"batch_sequences"} and not isinstance(value, (Mapping, list, tuple))
    }
