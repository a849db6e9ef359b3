"""A store's runs as a table that `read_runs` reads: one row a run, the columns of a runs table first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from forescale.runs._readers._sweep import KEPT, sweep_record
from forescale.sweep._job import COLUMNS

if TYPE_CHECKING:
    import polars

    from forescale.sweep.store._entry import Entry

FIRST = ("params", "active_params", "tokens", "learning_rate", "batch_tokens", "loss")


def table_of(entries: Sequence[Entry]) -> polars.DataFrame:
    """One row an entry. A run that did not end as planned belongs to the tokens and steps it was planned for."""
    from forescale.runs._readers._source import table_of

    records = [
        sweep_record(
            e.job.row, e.job.compute, e.outcome and asdict(e.outcome), {name: getattr(e, name) for name in KEPT}
        )
        for e in entries
    ]
    known = dict.fromkeys(key for record in records for key in record)
    first = [name for name in (*FIRST, *COLUMNS) if name in known]
    order = dict.fromkeys((*first, *known))
    return table_of([dict.fromkeys(order) | record for record in records])
