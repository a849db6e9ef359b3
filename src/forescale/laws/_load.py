"""Read a law from TOML: the catalog that ships with the package, or a user's own file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError, UnknownNameError
from forescale.laws._families import FAMILIES
from forescale.laws._formula import Formula
from forescale.laws._landscape import Landscape, Slice
from forescale.laws._law import Law, Source, TransferError
from forescale.laws._reader import Reader, Table, is_covariance

CATALOG = Path(__file__).parent / "catalog"
KINDS = ("hyperparameters", "loss", "rule")
EVIDENCE = ("primary", "secondary", "computed", "unverified")
PARAMS_MEANS = ("non-vocabulary", "active non-vocabulary", "non-vocabulary and head", "all", "unstated")
COMPUTE_MEANS = ("6ND", "6ND and attention")
EXPERTS = ("dense", "moe", "any")
SCHEMA_VERSION = 1
# Bounds on what a file may state, far beyond every law known: a number outside is a slip.
MOST_EXPONENT = 20.0
MOST_OCTAVES = 20.0
MOST_GAP_PERCENT = 1e4
MOST_RIDGE = 4.0  # octaves of learning rate an octave of batch: 1 is the linear rule
MOST_CAUTION = 100.0  # factor from an estimate to a choice
WIDEST = 10.0  # of an interval or standard error, in the constant's own size


@lru_cache
def names() -> tuple[str, ...]:
    """The names of the catalog's laws, sorted."""
    return tuple(sorted(p.stem for p in CATALOG.glob("*.toml")))


def law(name: str | Path) -> Law:
    """The law of that catalog name, or of a TOML file (a path ending in .toml); raise `ForescaleError` for neither."""
    text = str(name)
    if text.endswith(".toml"):
        return _read(Path(text), origin=text)
    if text not in names():
        raise UnknownNameError(
            f"no law is named {text!r}; the catalog has {', '.join(names())}. "
            "A law of your own is a path ending in .toml."
        )
    return _catalog(text)


@lru_cache
def _catalog(name: str) -> Law:
    return _read(CATALOG / f"{name}.toml", origin="catalog")


def _read(path: Path, *, origin: str) -> Law:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForescaleError(f"the law file {path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForescaleError(f"the law file {path} is not valid TOML: {error}.") from None
    reader = _Reader(path)
    try:
        return reader.law(table, origin)
    except (TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ForescaleError):
            raise
        raise ForescaleError(f"the law file {path} has a value of the wrong type: {error}.") from None


class _Reader(Reader):
    """Turns one TOML table into a `Law`, naming the file and the key in every error."""

    def law(self, table: Table, origin: str) -> Law:
        self.known(table, LAW_KEYS, "the law")
        if (version := table.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
            raise self.error(f"schema_version must be {SCHEMA_VERSION}, all that this forescale reads; got {version!r}")
        name = self.name(table, origin)
        predicts = self.table(table, "predicts")
        if not predicts:
            raise self.error("predicts needs at least one quantity, such as [predicts.learning_rate]")
        return Law(
            name=name,
            title=str(table.get("title", name)),
            kind=self.choice(table, "kind", KINDS, None),
            predicts={quantity: self.formula(quantity, t) for quantity, t in predicts.items()},
            source=self.source(self.table(table, "source")),
            params_means=self.choice(table, "params_means", PARAMS_MEANS, "non-vocabulary"),
            compute_means=self.choice(table, "compute_means", COMPUTE_MEANS, "6ND"),
            experts=self.choice(table, "experts", EXPERTS, "dense"),
            range={axis: self.range(axis, pair) for axis, pair in self.table(table, "range", {}).items()},
            conditions={k: str(v) for k, v in self.table(table, "conditions", {}).items()},
            transfer_errors={
                q: self.transfer_error(self.table(self.table(table, "transfer_errors"), q), f"transfer_errors.{q}")
                for q in self.table(table, "transfer_errors", {})
            },
            landscape=self.landscape(self.table(table, "landscape")) if "landscape" in table else None,
            conflicts={k: str(v) for k, v in self.table(table, "conflicts", {}).items()},
            notes=self.texts(table, "notes", "the law"),
            fitted_on=str(table.get("fitted_on", "")),
            origin=origin,
        )

    def name(self, table: Table, origin: str) -> str:
        """The law's name; one of the catalog's only in the catalog, for tables and rivals tell laws by their names."""
        name = self.text(table, "name")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise self.error(f"name must be one word of letters, digits, hyphens, dots and underscores; got {name!r}")
        if origin != "catalog" and name in names() and self.path.resolve().parent != CATALOG.resolve():
            raise self.error(f"name {name!r} is a law of the catalog: give yours another, such as 'my-{name}'")
        return name

    def range(self, axis: str, pair: Any) -> tuple[float, float]:
        low, high = self.interval(axis, pair)
        if low < 0 or high <= 0:
            raise self.error(f"the range of {axis} must not go below 0 and must end above it; got {pair!r}")
        return low, high

    def transfer_error(self, table: Table, where: str) -> TransferError:
        self.known(table, frozenset({"octaves", "measured_on"}), where)
        return TransferError(
            octaves=self.number(table.get("octaves"), f"{where}.octaves", 0, MOST_OCTAVES),
            measured_on=self.text(table, "measured_on", where),
        )

    def formula(self, quantity: str, table: Any) -> Formula:
        where = f"predicts.{quantity}"
        if not isinstance(table, dict):
            raise self.error(f"{where} must be a table")
        table = cast(Table, table)
        self.known(table, FORMULA_KEYS, where)
        family = self.choice(table, "family", tuple(FAMILIES), None, where)
        constants = self.numbers(table, "constants", where)
        if lacking := [c for c in FAMILIES[family].constants if c not in constants]:
            raise self.error(f"{where} of family {family} needs the constants {', '.join(lacking)}")
        exponents = self.numbers(table, "exponents", where, -MOST_EXPONENT, MOST_EXPONENT)
        if FAMILIES[family].inputs is None and not exponents:
            raise self.error(f"{where} of family {family} needs exponents, such as {{ params = -0.7 }}")
        formula = Formula(
            quantity=quantity,
            family=family,
            constants=constants,
            exponents=exponents,
            input_units=self.numbers(table, "input_units", where, 0),
            unit=str(table.get("unit", "")),
            unit_size=self.number(table.get("unit_size", 1.0), f"{where}.unit_size", 0),
            maximum=self.number(table["maximum"], f"{where}.maximum", 0) if "maximum" in table else None,
            caution=self.number(table.get("caution", 1.0), f"{where}.caution", 1 / MOST_CAUTION, MOST_CAUTION),
            evidence=self.choice(table, "evidence", EVIDENCE, "primary", where),
            unverified=self.texts(table, "unverified", where),
            note=str(table.get("note", "")),
            covariance_of=self.texts(table, "covariance_of", where),
            covariance=self.covariance(table, where),
            intervals={n: self.interval(n, p) for n, p in self.table(table, "intervals", {}).items()},
        )
        self.uncertainty(formula, where)
        return formula

    def covariance(self, table: Table, where: str) -> tuple[tuple[float, ...], ...]:
        rows = self.list_of(table, "covariance", where)
        if not all(isinstance(row, list) for row in rows):
            raise self.error(f"{where}.covariance must be a list of rows; got {rows!r}")
        return tuple(tuple(self.number(v, f"{where}.covariance") for v in row) for row in rows)

    def uncertainty(self, formula: Formula, where: str) -> None:
        size = len(formula.covariance_of)
        if len(formula.covariance) != size or any(len(row) != size for row in formula.covariance):
            raise self.error(f"{where}.covariance must be {size} by {size}, one row for each name of covariance_of")
        for name in (*formula.covariance_of, *formula.intervals):
            if name not in formula.exponents and name.removeprefix("log ") not in formula.constants:
                raise self.error(f"{where} states an uncertainty of {name!r}, which is no constant or exponent of it")
            if name.startswith("log ") and formula.constants[name[4:]] <= 0:
                raise self.error(f"{where} states an uncertainty of {name!r}, but that constant is not above 0")
        if not is_covariance(formula.covariance):
            raise self.error(f"{where}.covariance must be symmetric and positive semidefinite, as covariances are")
        self.widths(formula, where)

    def widths(self, formula: Formula, where: str) -> None:
        """Refuse uncertainties far beyond the constant itself: a slip, or a law that says nothing."""
        errors = {n: formula.covariance[i][i] ** 0.5 for i, n in enumerate(formula.covariance_of)}
        widest = {n: WIDEST * max(abs(formula.theta(n)), 1.0) for n in (*errors, *formula.intervals)}
        for name, error in errors.items():
            if error > widest[name]:
                raise self.error(
                    f"{where}: the standard error of {name} must be at most {widest[name]:g}; got {error:g}"
                )
        for name, (low, high) in formula.intervals.items():
            if not low <= formula.theta(name) <= high or high - low > widest[name]:
                raise self.error(
                    f"{where}: the interval of {name} must hold its value {formula.theta(name):g} and be at most "
                    f"{widest[name]:g} wide; got {low:g} to {high:g}"
                )

    def source(self, table: Table) -> Source:
        return Source(
            paper=self.text(table, "paper", "source"),
            reference=self.text(table, "reference", "source"),
            place=str(table.get("place", "")),
            evidence=self.choice(table, "evidence", EVIDENCE, "primary", "source"),
        )

    def landscape(self, table: Table) -> Landscape:
        self.known(table, LANDSCAPE_KEYS, "landscape")
        interaction = self.number(table.get("interaction_percent"), "landscape.interaction_percent", -100, 100)
        return Landscape(
            learning_rate=self.slice(table, "learning_rate"),
            batch_tokens=self.slice(table, "batch_tokens"),
            interaction=interaction / 100,
            ridge=self.number(table.get("ridge"), "landscape.ridge", -MOST_RIDGE, MOST_RIDGE),
            source=self.text(table, "source", "landscape"),
        )

    def slice(self, table: Table, axis: str) -> Slice:
        """A valley with its floor at 0: bands are read from the gap, so it must rise all the way on both sides."""
        octaves, percent = (
            tuple(
                self.number(v, f"landscape.{axis}_{key}", low, high)
                for v in self.list_of(table, f"{axis}_{key}", "landscape")
            )
            for key, low, high in (
                ("octaves", -MOST_OCTAVES, MOST_OCTAVES),
                ("loss_gap_percent", -MOST_GAP_PERCENT, MOST_GAP_PERCENT),
            )
        )
        if len(octaves) != len(percent) or not _ascending(octaves) or 0.0 not in octaves[1:-1]:
            raise self.error(f"landscape.{axis} needs ascending octaves through 0 and one loss gap for each")
        middle = octaves.index(0.0)
        if percent[middle] != 0 or not (_ascending(percent[middle:]) and _ascending(percent[middle::-1])):
            raise self.error(f"landscape.{axis} needs a loss gap of 0 at octave 0 that rises on both sides")
        return Slice(octaves=octaves, loss_gap=tuple(p / 100 for p in percent))


def _ascending(values: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


# fmt: off
LAW_KEYS = frozenset({
    "schema_version", "name", "title", "kind", "predicts", "source", "params_means", "compute_means", "experts",
    "range", "conditions", "transfer_errors", "landscape", "conflicts", "notes", "fitted_on",
})
FORMULA_KEYS = frozenset({
    "family", "constants", "exponents", "input_units", "unit", "unit_size", "maximum", "caution", "evidence", "unverified",
    "covariance_of", "covariance", "intervals", "note",
})
LANDSCAPE_KEYS = frozenset({
    "learning_rate_octaves", "learning_rate_loss_gap_percent", "batch_tokens_octaves", "batch_tokens_loss_gap_percent",
    "interaction_percent", "ridge", "source",
})
# fmt: on
