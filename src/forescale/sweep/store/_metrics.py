"""The metrics of a run, a line of JSON a step while it runs, as Parquet beside them when it has ended."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import polars

LINES, PARQUET = "metrics.jsonl", "metrics.parquet"
TAIL = 64 * 1024  # bytes of a file in which its last line stands


def keep_metrics(folder: Path) -> None:
    """Write the lines of a run's folder as Parquet, whole or not at all; without lines there is nothing to do.

    Where that fails (a full disk) the lines are still there, and `read_metrics` reads them: the run must be recorded.
    """
    if not (folder / LINES).is_file():
        return
    import polars as pl

    partial = folder / f"{PARQUET}.{os.getpid()}"
    with suppress(OSError, pl.exceptions.PolarsError):
        try:
            _from_lines(folder).write_parquet(partial)
            partial.replace(folder / PARQUET)
        finally:
            partial.unlink(missing_ok=True)


def read_metrics(folder: Path) -> polars.DataFrame:
    """One row a step, as far as the run has come; an empty table where it has logged nothing."""
    import polars as pl

    try:
        lines = (folder / LINES).stat().st_mtime if (folder / LINES).is_file() else 0.0
        if (folder / PARQUET).stat().st_mtime >= lines:
            return pl.read_parquet(folder / PARQUET)
    except (OSError, pl.exceptions.PolarsError):
        pass  # it has not ended, or the copy is no good: the lines say the same
    return _from_lines(folder)


def latest(folder: Path) -> dict[str, Any] | None:
    """The newest record of a running run; None before the first."""
    with suppress(OSError), (folder / LINES).open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        for line in reversed(file.read().split(b"\n")[:-1]):
            with suppress(ValueError):
                return json.loads(line)
    return None


def _from_lines(folder: Path) -> polars.DataFrame:
    """All whole lines; one that was cut short, or is none of ours, is left out."""
    from forescale.runs._readers._source import table_of

    records: list[dict[str, Any]] = []
    with suppress(OSError), (folder / LINES).open("rb") as file:
        for line in file:
            with suppress(ValueError):
                if line.endswith(b"\n") and isinstance(record := json.loads(line), dict):
                    records.append(cast("dict[str, Any]", record))
    return table_of(records)
