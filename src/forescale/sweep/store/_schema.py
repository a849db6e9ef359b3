"""The tables of a store, and what an older store gets to be as this version's. Loaded when a store is opened."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, String, Table, Text, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn

VERSION = 1

metadata = MetaData()

about = Table(
    "forescale_store",
    metadata,
    Column("name", String(32), primary_key=True),  # version; runs: the folder of runs, where it was given
    Column("value", Text, nullable=False),
)

# A column that a later version adds needs a default in the database, for older stores and for older writers.
runs = Table(
    "forescale_runs",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # the order of claims
    Column("key", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False, index=True),
    Column("job", Text, nullable=False),  # JSON, as is `outcome`; Python's, in which NaN and Infinity are numbers
    Column("outcome", Text),
    Column("design", String(255), nullable=False, server_default=""),
    Column("owner", String(255), nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created", Double),  # this and the other times: UTC seconds of the database's clock
    Column("started", Double),
    Column("beat", Double),
    Column("ended", Double),
)


def migrate(connection: Connection) -> None:
    """Add the tables and columns that an older store lacks; its rows get the defaults.

    A change of what a column means would be a step of its own here; there has been none.
    """
    metadata.create_all(connection)
    for table in (about, runs):
        have = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in have:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
