"""A surface as TOML, written so that reading it gives the same surface."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.fit.surface._edge import Edge
from forescale.fit.surface._model import NAMES
from forescale.fit.surface._surface import Surface
from forescale.fit.surface._sweep import Reference
from forescale.laws._reader import Reader, Table, is_covariance
from forescale.laws._save import toml_list, toml_table, toml_value

SCHEMA_VERSION = 1
KIND = "surface"
RANGES = ("params", "active_share", "tokens", "learning_rate", "batch_tokens")
MOST_ERROR = 1000.0
LEAST_WIDTH = 1e-3  # of the stability edge, in ln learning rate
ERRORS = ("cell_error", "noise_scale", "inflation")
KEYS = frozenset(
    {
        *("schema_version", "kind", "name", "fitted_on", "held", "notes", "covariance_of", "covariance"),
        *("errors", "source", "range", "reference", "parameters", "edge"),
    }
)
MOST = 1e6  # of a logarithm, an exponent or a weight: a number outside is a slip


def save_surface(surface: Surface, path: str | Path) -> None:
    """Write `surface` to a .toml file that `load_surface` reads back exactly; raise `ForescaleError` if it cannot."""
    path = Path(path)
    if path.suffix != ".toml":
        raise ForescaleError(f"a surface is written as TOML, to a path ending in .toml; got {str(path)!r}.")
    try:
        path.write_text("\n".join(_lines(surface)) + "\n", encoding="utf-8")
    except OSError as error:
        raise ForescaleError(f"the surface file {path} cannot be written: {error.strerror or error}.") from None


def load_surface(path: str | Path) -> Surface:
    """Read a surface that `save_surface` or `forescale fit --surface` wrote; `ForescaleError` names what is wrong."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForescaleError(f"the surface file {path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForescaleError(f"the surface file {path} is not valid TOML: {error}.") from None
    return _Reader(path).surface(table)


def _lines(surface: Surface) -> Iterator[str]:
    yield f"schema_version = {SCHEMA_VERSION}"
    yield f"kind = {toml_value(KIND)}"
    yield f"name = {toml_value(surface.name)}"
    yield f"fitted_on = {toml_value(surface.fitted_on)}"
    yield f"held = {toml_value(surface.held)}"
    yield from toml_list("notes", surface.notes)
    yield f"covariance_of = {toml_value(NAMES)}"
    yield from toml_list("covariance", surface.covariance)
    yield from toml_table("errors", {name: getattr(surface, name) for name in ERRORS})
    yield from toml_table("source", surface.source)
    yield from toml_table("range", surface.range)
    yield from toml_table("reference", vars(surface.reference))
    yield from toml_table("parameters", surface.parameters)
    yield from toml_table("edge", vars(surface.edge))


class _Reader(Reader):
    """Turns one TOML table into a `Surface`."""

    kind = KIND

    def surface(self, table: Table) -> Surface:
        if table.get("kind") != KIND:
            raise self.error(f"kind must be {KIND!r}, as forescale fit --surface writes it; got {table.get('kind')!r}")
        self.known(table, KEYS, "the surface")
        if (version := table.get("schema_version")) != SCHEMA_VERSION:
            raise self.error(f"schema_version must be {SCHEMA_VERSION}, all that this forescale reads; got {version!r}")
        held = self.texts(table, "held", "the surface")
        if unknown := [name for name in held if name not in NAMES]:
            raise self.error(f"held names {unknown[0]!r}, which is no coefficient of a surface")
        errors = self.exactly(table, "errors", ERRORS, 0)
        for name, value in errors.items():
            self.number(value, f"errors.{name}", 0, MOST_ERROR)
        return Surface(
            name=self.text(table, "name", "the surface"),
            fitted_on=str(table.get("fitted_on", "")),
            held=held,
            notes=self.texts(table, "notes", "the surface"),
            covariance=self.covariance(table),
            source={k: str(v) for k, v in self.table(table, "source", {}).items()},
            range=self.ranges(table),
            reference=Reference(**self.exactly(table, "reference", [f.name for f in fields(Reference)], 0)),
            parameters=self.exactly(table, "parameters", NAMES),
            edge=self.edge(table),
            **errors,
        )

    def exactly(self, table: Table, key: str, names: Any, low: float = -MOST) -> dict[str, float]:
        """A table of numbers with just these names."""
        found = self.table(table, key)
        self.known(found, frozenset(names), f"[{key}]")
        if lacking := [name for name in names if name not in found]:
            raise self.error(f"[{key}] needs {lacking[0]}")
        high = MOST if low else float("inf")
        return {name: self.number(found[name], f"{key}.{name}", low, high) for name in names}

    def edge(self, table: Table) -> Edge:
        values = self.exactly(table, "edge", [f.name for f in fields(Edge)])
        if values["width"] < LEAST_WIDTH or values["diverged"] < 0 or values["diverged"] != int(values["diverged"]):
            raise self.error(f"edge.width must be at least {LEAST_WIDTH:g} and edge.diverged a count")
        return Edge(**{**values, "diverged": int(values["diverged"])})  # pyright: ignore[reportArgumentType]

    def ranges(self, table: Table) -> dict[str, tuple[float, float]]:
        found = self.table(table, "range")
        self.known(found, frozenset(RANGES), "[range]")
        if lacking := [name for name in RANGES if name not in found]:
            raise self.error(f"[range] needs {lacking[0]}")
        made = {name: self.interval(name, found[name]) for name in RANGES}
        if low := [name for name, ends in made.items() if ends[0] <= 0]:
            raise self.error(f"the range of {low[0]} must lie above 0")
        return made

    def covariance(self, table: Table) -> tuple[tuple[float, ...], ...]:
        if self.texts(table, "covariance_of", "the surface") != NAMES:
            raise self.error(f"covariance_of must list the coefficients in this order: {', '.join(NAMES)}")
        rows = self.list_of(table, "covariance", "the surface")
        if len(rows) != len(NAMES) or not all(
            isinstance(row, list) and len(cast("list[Any]", row)) == len(NAMES) for row in rows
        ):
            raise self.error(f"covariance must have {len(NAMES)} rows of {len(NAMES)} numbers")
        made = tuple(tuple(self.number(v, "covariance") for v in row) for row in rows)
        if not is_covariance(made):
            raise self.error("covariance must be symmetric and have no negative variance in any direction")
        return made
