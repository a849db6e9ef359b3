"""The metrics of a run, a line of JSON a step while it runs, as Parquet beside them when it has ended."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars

LINES, PARQUET = "metrics.jsonl", "metrics.parquet"
TAIL = 64 * 1024  # bytes of a file in which its last line stands


def keep_metrics(folder: Path) -> None:
    """Write the lines of a run's folder as Parquet, whole or not at all; without lines there is nothing to do.

    Where that fails (a full disk) the lines are still there, and `read_metrics` reads them: the run must be recorded.
    """
    import polars as pl

    partial = folder / f"{PARQUET}.{os.getpid()}"
    with suppress(OSError, pl.exceptions.PolarsError):
        if (folder / LINES).is_file():
            try:
                _from_lines(folder).write_parquet(partial)
                partial.replace(folder / PARQUET)
            finally:
                partial.unlink(missing_ok=True)


def read_metrics(folder: Path) -> polars.DataFrame:
    """One row a step, as far as the run has come; an empty table where it has logged nothing."""
    import polars as pl

    try:
        if (folder / PARQUET).stat().st_mtime >= (folder / LINES).stat().st_mtime:
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
    import polars as pl

    try:
        content = (folder / LINES).read_bytes()
    except OSError:
        content = b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole.strip():
        return pl.DataFrame()
    return pl.read_ndjson(io.BytesIO(whole), infer_schema_length=None, ignore_errors=True)
