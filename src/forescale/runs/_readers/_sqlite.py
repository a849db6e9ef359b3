"""SQLite files, opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from forescale.errors import ForescaleError

MAGIC = b"SQLite format 3\x00"
PATIENCE = 20_000  # times 100,000 steps of SQLite's virtual machine: minutes of work, far beyond any store


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def read_only(path: Path) -> Generator[sqlite3.Connection]:
    """A connection that can change nothing; `ForescaleError` for a file that is damaged, locked or unreadable."""
    try:
        with closing(connect_read_only(path)) as connection:
            connection.set_progress_handler(_Patience(), 100_000)
            yield connection
    except sqlite3.Error as error:
        raise ForescaleError(f"{path} cannot be read as an SQLite database: {error}.") from None


class _Patience:
    def __init__(self) -> None:
        self.left = PATIENCE

    def __call__(self) -> int:
        self.left -= 1
        return int(self.left < 0)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Read-only; a database with a write-ahead log in a folder without write permission opens as it stands on disk."""
    address = f"file:{quote(str(path.resolve()))}"
    try:
        connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    for pragma in ("query_only = 1", "trusted_schema = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Tables (no views) and their columns."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: {row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (name,))} for name in names
    }


def rows(connection: sqlite3.Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return connection.execute(query, tuple(values)).fetchall()
