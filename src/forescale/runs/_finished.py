"""Which runs finished: by the state that a tool recorded, and by the steps taken of those asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forescale.runs._columns import readings

if TYPE_CHECKING:
    import polars

STATES = ("state", "status", "run_state", "run_status")
FINISHED = frozenset(
    ["finished", "complete", "completed", "done", "success", "succeeded", "terminated", "ok", "diverged"]
)
_UNFINISHED_WORDS = (
    "crashed failed fail failure killed running pending pruned waiting error errored scheduled preempted preempting "
    "paused stopped aborted cancelled canceled timeout restoring planned lost"
)
UNFINISHED = frozenset(_UNFINISHED_WORDS.split())
NEARLY = 0.98  # of the steps: the last one need not have been logged


def unfinished(table: polars.DataFrame) -> tuple[polars.Series, tuple[str, ...]]:
    """Mark the runs whose state says that they did not finish, or that took fewer steps than asked for; and say why."""
    import polars as pl

    marks = {**_by_state(table), **_by_steps(table)}
    late = pl.Series("unfinished", [False] * table.height)
    for marked in marks.values():
        late = late | marked.fill_null(False)
    return late, tuple(reason for reason, marked in marks.items() if marked.any())


def _by_state(table: polars.DataFrame) -> dict[str, polars.Series]:
    import polars as pl

    for column in table.columns:
        if column.strip().lower() not in STATES or table[column].dtype != pl.String:
            continue
        said = table[column].str.strip_chars().str.to_lowercase().str.replace(r"^.*\.", "")  # TrialState.COMPLETE
        if set(said.drop_nulls().unique()) <= FINISHED | UNFINISHED:
            states = said.filter(said.is_in(list(UNFINISHED))).unique().sort().to_list()
            return {f"{column}: {', '.join(states)}": said.is_in(list(UNFINISHED))}
    return {}


def _by_steps(table: polars.DataFrame) -> dict[str, polars.Series]:
    """`global_step` is what Hugging Face's and Lightning's trainers count, `max_steps` what they were asked for."""
    import polars as pl

    named = {plain: column for column in reversed(table.columns) for plain, _ in readings(column)}
    if not {"global_step", "max_steps"} <= named.keys():
        return {}
    pair = [table[named[name]].cast(pl.Float64, strict=False) for name in ("global_step", "max_steps")]
    return {f"{named['global_step']} below {named['max_steps']}": (pair[0] < NEARLY * pair[1]) & (pair[1] > 0)}
