"""Connections to a store's database: how a transaction begins there, whose clock it reads, what its errors mean.

Every transaction has a connection of its own: nothing is shared with forked workers or between threads, a server that
was started anew is simply met again, and there is nothing to close.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from forescale.errors import ForescaleError, MissingExtraError
from forescale.runs._readers._sqlite import connect_read_only

# The database's own clock, so that drivers on machines whose clocks differ agree on whose heart has stopped.
CLOCKS = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(now(6))",
    "mariadb": "SELECT unix_timestamp(now(6))",
}
# SQLite's result codes, by how they begin.
SENTENCES = {
    "SQLITE_BUSY": "is locked by another process (waited {patience:g} s): wait for it, or end it",
    "SQLITE_LOCKED": "is locked by another process (waited {patience:g} s): wait for it, or end it",
    "SQLITE_READONLY": "cannot be written: the file or its folder is read-only",
    "SQLITE_CANTOPEN": "cannot be opened: the file, or the right to write in its folder, is missing",
    "SQLITE_NOTADB": "is no store: the file is not an SQLite database",
    "SQLITE_CORRUPT": "is damaged ({said}): move it away and sweep again; the results in the folders of runs are taken up",
    "SQLITE_FULL": "cannot be written: the disk is full; make room and go on, what was recorded is kept",
    "SQLITE_IOERR": "cannot be read or written ({said}): look after the disk",
}
LOCKED = "55P03"  # PostgreSQL's code of a lock that was waited for in vain


def sqlite_engine(path: Path, patience: float) -> Engine:
    """An engine on a file that is there; transactions that write take the lock when they begin, so that none fails late."""
    engine = create_engine("sqlite://", creator=lambda: connect(path, patience), poolclass=NullPool)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def server_engine(url: URL, patience: float) -> Engine:
    """An engine on a server; raises `MissingExtraError` where the driver of its address is not installed."""
    try:
        engine = create_engine(url, poolclass=NullPool)
    except ModuleNotFoundError as error:
        package = {"psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}.get(str(error.name), str(error.name))
        raise MissingExtraError(f"a store at {url.drivername}:// needs {error.name}: pip install {package}") from None
    if engine.dialect.name == "postgresql":
        event.listen(engine, "begin", partial(_begin_postgresql, patience))
    return engine


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that changes nothing where file or folder may not be written, and never makes a file."""
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return connect_read_only(path)
    address = f"file:{quote(str(path.resolve()))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
    # After a power cut the last transactions may be gone, though nothing is damaged: a driver takes up the results that
    # are in the folders of runs, which are synced. A killed process loses nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgresql(patience: float, connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(patience * 1000)}")  # milliseconds


@contextmanager
def transaction(engine: Engine, where: str, patience: float, *, write: bool) -> Generator[Connection]:
    """All that is done within, or nothing; what goes wrong in the database is a `ForescaleError` of one sentence."""
    with said(where, patience), engine.connect() as plain:
        connection = plain.execution_options(write=write)
        with connection.begin():
            yield connection


def now(connection: Connection) -> float:
    """UTC seconds; a database whose clock is not known here takes this machine's."""
    query = CLOCKS.get(connection.dialect.name)
    return time.time() if query is None else float(connection.exec_driver_sql(query).scalar_one())


@contextmanager
def said(where: str, patience: float) -> Generator[None]:
    """Turn a database's errors into sentences about the store."""
    try:
        yield
    except DBAPIError as error:
        raise ForescaleError(f"the store {where} {_sentence(error.orig, patience)}.") from None


def _sentence(error: Any, patience: float) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    code = str(getattr(error, "sqlite_errorname", None) or "")
    if getattr(error, "sqlstate", None) == LOCKED:
        code = "SQLITE_BUSY"
    known = next((sentence for start, sentence in SENTENCES.items() if code.startswith(start)), None)
    if known is None:
        return f"cannot be used ({text}): look at its address, its server and what you may do there"
    return known.format(patience=patience, said=text)
