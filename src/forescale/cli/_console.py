"""What the commands print on: a console wide enough for tables, and tables that give up columns where it is not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

PIPE_WIDTH = 120  # where the output is a file or a pipe, which has no width
LEAST_PIPE_WIDTH = 100  # of COLUMNS, where it is set and the output is a file or a pipe
NARROWEST = 66  # a terminal below this wraps lines itself


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its heading (lines), whether it may wrap, and whether a narrow terminal does without it."""

    name: str
    justify: Literal["left", "right"] = "left"
    fold: int = 0  # characters that it may be narrowed to by wrapping; 0: it never wraps
    drop: int = 0  # the highest goes first where the terminal is too narrow; 0: it stays


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave the end of a closed pipe (`| head`) to `main`, where it is no error; rich would exit with 1."""
        raise BrokenPipeError


def make_console(least: int = LEAST_PIPE_WIDTH) -> Console:
    """A console on standard output."""
    console = _Console(highlight=False)
    if sys.stdout is not None and sys.stdout.isatty():
        return console if console.width >= NARROWEST else _Console(highlight=False, width=NARROWEST)
    return console if console.width >= least else _Console(highlight=False, width=PIPE_WIDTH)


def make_table(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str] | None], **style: Any
) -> tuple[Table, tuple[str, ...]]:
    """A table that fits the console and the names of the columns it had to leave out; a row None is a line across.

    No heading is ever cut: columns wrap where they may, then go, the highest `drop` first.
    """
    from rich.table import Table
    from rich.text import Text

    framed = "box" in style
    cells = [row for row in rows if row is not None]
    natural = [max(_width(c.name), *(_width(row[i]) for row in cells), 0) for i, c in enumerate(columns)]
    kept = _kept(columns, natural, console.width - 2 * framed)
    widths = _widths(columns, natural, kept, console.width - 2 * framed)
    options: dict[str, Any] = {"box": None, "header_style": "bold"} | style
    table = Table(pad_edge=False, title_justify="left", **options)
    for i in kept:
        column = columns[i]
        table.add_column(
            Text(column.name), justify=column.justify, overflow="fold", width=widths[i], no_wrap=not column.fold
        )
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*(Text(row[i]) for i in kept))
    return table, tuple(" ".join(c.name.split()) for i, c in enumerate(columns) if i not in kept)


def left_out(names: Sequence[str]) -> str:
    """The sentence on columns that did not fit; '' where all did."""
    return f"(columns left out in this narrow terminal: {', '.join(names)}; see --json)" if names else ""


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(cell_len(line) for line in text.split("\n"))


def _least(column: Column, natural: int) -> int:
    return min(natural, max(column.fold, _width(column.name))) if column.fold else natural


def _kept(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    kept = list(range(len(columns)))
    while sum(_least(columns[i], natural[i]) + 2 for i in kept) - 2 > width:
        droppable = [i for i in kept if columns[i].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: (columns[i].drop, i)))
    return kept


def _widths(columns: Sequence[Column], natural: Sequence[int], kept: Sequence[int], width: int) -> dict[int, int]:
    """What each column gets: its least, then from left to right what it would like and is still there."""
    widths = {i: _least(columns[i], natural[i]) for i in kept}
    spare = max(width - sum(widths.values()) - 2 * (len(kept) - 1), 0)
    for i in kept:
        more = min(natural[i] - widths[i], spare)
        widths[i] += more
        spare -= more
    return widths
