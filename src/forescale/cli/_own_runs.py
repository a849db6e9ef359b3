"""The runs that a command is given, with the options on how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.runs import Runs


def read(
    source: Path,
    columns: str | None,
    constants: str | None,
    *,
    seq_len: int | None = None,
    keep_unfinished: bool = False,
    needs: Sequence[str] | None = None,
) -> Runs:
    """Read runs with the texts of --columns and --set; `needs` None: what a sweep must have."""
    from forescale.runs import parse_columns, parse_constants, read_runs

    options = {} if needs is None else {"needs": needs}
    return read_runs(
        source,
        columns=None if columns is None else parse_columns(columns),
        constants=None if constants is None else parse_constants(constants),
        seq_len=seq_len,
        keep_unfinished=keep_unfinished,
        **options,
    )


def read_own(runs: Path | None, columns: str | None, constants: str | None, *, seq_len: int | None) -> Runs | None:
    """The runs of --runs, None where none are given; an option about them alone is refused."""
    if runs is not None:
        return read(runs, columns, constants, seq_len=seq_len)
    for option, text in (("--columns", columns), ("--set", constants)):
        if text is not None:
            raise ForescaleError(f"{option} says how runs are read: give --runs FILE as well.")
    return None
