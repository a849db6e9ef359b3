"""What is alike in every run and recorded in none: given by the user, as a column of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError, UnknownNameError
from forescale.quantities import parse_quantity
from forescale.runs._columns import ALIASES, parse_pairs
from forescale.runs._numbers import MAY_BE_ZERO

if TYPE_CHECKING:
    import polars


def parse_constants(text: str) -> dict[str, float]:
    """Read `params=124M,tokens=2.6B` as our name -> value; raise `ForescaleError` for anything else."""
    pairs = parse_pairs(text, "--set takes our name = a value", "params=124M,tokens=2.6B", "--set")
    return check_constants(pairs)


def check_constants(given: Mapping[str, str | float]) -> dict[str, float]:
    """Values as numbers; raise `ForescaleError` for a name that is not ours, a loss, or a value that is no quantity."""
    for name in given:
        if name not in ALIASES:
            raise UnknownNameError(f"no column of ours is named {name!r}; ours are {', '.join(ALIASES)}.")
        if name == "loss":
            raise ForescaleError("a loss is measured in every run and cannot be set: name its column with --columns.")
    return {name: _value(value, name) for name, value in given.items()}


def _value(value: str | float, name: str) -> float:
    if name in MAY_BE_ZERO and str(value).strip() in ("0", "0.0"):
        return 0.0
    return parse_quantity(value, name)


def add_constants(
    table: polars.DataFrame, constants: Mapping[str, float], columns: Mapping[str, str]
) -> tuple[polars.DataFrame, dict[str, str]]:
    """Add a column under our own name for each constant, and to `columns` that it is to be read."""
    import polars as pl

    if both := sorted(set(constants) & set(columns)):
        raise ForescaleError(f"{both[0]} is set to one value and read from a column: give one of the two.")
    taken = {name: f"source.{name}" for name in constants if name in table.columns}
    added = table.rename(taken).with_columns(pl.lit(value).alias(name) for name, value in constants.items())
    batch = {"batch_tokens", "batch_sequences"} & set(constants)
    if len(batch) == 2:
        raise ForescaleError("the batch is set twice: give batch_tokens or batch_sequences.")
    return added, {**columns, **{name: name for name in constants}}


def said(constants: Mapping[str, float]) -> tuple[str, ...]:
    """The note that says what was given."""
    if not constants:
        return ()
    return (", ".join(f"{name} = {value:g}" for name, value in constants.items()) + " in every run, as given",)
