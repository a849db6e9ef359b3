"""Open a store: a file or a database's address, new or there already, of this version or brought up to it."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, MissingExtraError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from forescale.sweep.store._store import Store

PATIENCE = 30.0  # seconds
TRIES = 5  # to make a store that others make at the same moment
SUFFIX = ".runs"  # of the folder beside a store's file


def open_store(
    where: str | Path, *, create: bool = True, runs: str | Path | None = None, patience: float = PATIENCE
) -> Store:
    """Open the store `where`: an SQLite file (`sweep.db`), or an SQLAlchemy address (`postgresql://user@host/base`).

    The runs have their folders in `runs`: beside a file, FILE.runs by default; for an address it must be given once,
    when the store is made, as a folder that every node reaches. `patience`: seconds to wait for another's lock. Without
    `create` the store must be there. An older version's store is brought up to this one, which `notes` says. Raises
    `ForescaleError` for what is no store, a newer version's, damaged, locked or out of reach.
    """
    if not (patience > 0):
        raise ForescaleError(f"patience must be above zero seconds; got {patience}.")
    try:
        import sqlalchemy  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise MissingExtraError("a sweep's store needs sqlalchemy: pip install 'forescale[train]'") from None
    from forescale.sweep.store._database import said
    from forescale.sweep.store._store import Store

    engine, name, file = _engine(str(where), patience, create=create)
    given = None if runs is None else Path(runs).absolute()
    with said(name, patience):
        notes = _prepare(engine, name, file, given, patience, create=create)
        folder = given or _folder(engine, file)
    return Store(where=name, runs=folder, engine=engine, patience=patience, notes=notes)


def _engine(where: str, patience: float, *, create: bool) -> tuple[Engine, str, Path | None]:
    """The engine, the store's name in messages (no password), and its file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from forescale.sweep.store._database import server_engine, sqlite_engine

    if "://" not in where:
        path = _file(where, create=create)
        return sqlite_engine(path, patience), where, path
    try:
        url = make_url(where)
        if url.get_backend_name() == "sqlite":
            return _engine(_path_in(url.database), patience, create=create)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")  # which the name alone means from SQLAlchemy 2.1 on
        return server_engine(url, patience), make_url(where).render_as_string(hide_password=True), None
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        if isinstance(error, ForescaleError):
            raise
        raise ForescaleError(
            f"a store is a file (sweep.db) or a database's address (postgresql://user@host/base); got an address that "
            f"SQLAlchemy does not know: {' '.join(str(error).split()).rstrip('.')}."
        ) from None


def _path_in(database: str | None) -> str:
    if not database or database == ":memory:":
        raise ForescaleError("a store outlives its process, so it must be a file; got a database in memory.")
    return database


def _file(where: str, *, create: bool) -> Path:
    path = Path(where).absolute()  # whatever folder the process goes to
    if not where.strip() or path.is_dir():
        raise ForescaleError(f"a store must be a file such as sweep.db; got {'a folder, ' if where else ''}{where!r}.")
    if path.exists():
        return path
    if not create:
        raise ForescaleError(f"there is no store {where}: name another one; `forescale sweep` makes one.")
    try:
        path.touch()
    except OSError as error:
        raise ForescaleError(f"the store {where} cannot be made: {error.strerror or error}.") from None
    return path


def _prepare(
    engine: Engine, name: str, file: Path | None, folder: Path | None, patience: float, *, create: bool
) -> tuple[str, ...]:
    """Make or migrate the tables; what was done, in words."""
    from sqlalchemy.exc import DBAPIError

    from forescale.sweep.store._schema import VERSION

    until = time.monotonic() + patience
    for tries_left in reversed(range(TRIES)):
        try:
            version = _version(engine, name, new=create)
            if version == VERSION:
                return ()
            _check_version(version, name, VERSION)
            if version is None and file is None and folder is None:
                raise ForescaleError(
                    f"the store {name} is no file to put the folders of runs beside: say which folder they go to (--runs), one "
                    "that every node reaches."
                )
            _make(engine, file, folder, patience)
            older = f"the store {name} was of version {version}; it was brought up to version {VERSION}"
            return () if version is None else (older,)
        except DBAPIError:
            if not tries_left or time.monotonic() > until:
                raise
            time.sleep(0.1)
    raise AssertionError


def _version(engine: Engine, name: str, *, new: bool) -> int | None:
    """The version that the tables say; None where there are none yet and they may be made."""
    from sqlalchemy import inspect

    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if "forescale_store" in tables:
            return int(_said_of(connection, "version") or 0)
    if engine.dialect.name == "sqlite" and tables:
        raise ForescaleError(
            f"the store {name} is an SQLite database of something else (tables: {', '.join(tables[:6])}): name another file."
        )
    if not new:
        raise ForescaleError(f"{name} holds no store: name another one; `forescale sweep` makes one.")
    return None


def _check_version(version: int | None, name: str, ours: int) -> None:
    if version is not None and version > ours:
        raise ForescaleError(
            f"the store {name} was written by a newer forescale (store version {version}, this one reads up to {ours}): "
            "pip install --upgrade forescale."
        )


def _make(engine: Engine, file: Path | None, folder: Path | None, patience: float) -> None:
    """All tables and the version in one transaction, so that a killed process leaves a whole store or none."""
    from forescale.sweep.store._database import connect
    from forescale.sweep.store._schema import VERSION, migrate

    if file is not None:
        with closing(connect(file, patience)) as plain:
            plain.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for one another
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        migrate(connection)
        _say(connection, "version", str(VERSION))
        if folder is not None:
            _say(connection, "runs", str(folder))


def _folder(engine: Engine, file: Path | None) -> Path:
    """The folder of runs that was given when the store was made; for a file, else the one beside it."""
    with engine.connect() as connection:
        known = _said_of(connection, "runs")
    return Path(known or f"{file}{SUFFIX}")


def _said_of(connection: Connection, name: str) -> str | None:
    from sqlalchemy import select

    from forescale.sweep.store._schema import about

    return connection.execute(select(about.c.value).where(about.c.name == name)).scalar_one_or_none()


def _say(connection: Connection, name: str, value: str) -> None:
    from forescale.sweep.store._schema import about

    row: dict[str, Any] = {"name": name, "value": value}
    if not connection.execute(about.update().where(about.c.name == name).values(row)).rowcount:
        connection.execute(about.insert().values(row))
