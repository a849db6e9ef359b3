"""Read a law from TOML: the catalog that ships with the package, or a user's own file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError, UnknownNameError
from forescale.laws._families import FAMILIES
from forescale.laws._formula import Formula
from forescale.laws._landscape import Landscape, Slice
from forescale.laws._law import Law, Source, TransferError

CATALOG = Path(__file__).parent / "catalog"
KINDS = ("hyperparameters", "loss", "rule")
EVIDENCE = ("primary", "secondary", "computed", "unverified")
PARAMS_MEANS = ("non-vocabulary", "active non-vocabulary", "non-vocabulary and head", "all", "unstated")
COMPUTE_MEANS = ("6ND", "6ND and attention")
EXPERTS = ("dense", "moe", "any")
Table = Mapping[str, Any]


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


class _Reader:
    """Turns one TOML table into a `Law`, naming the file and the key in every error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def law(self, table: Table, origin: str) -> Law:
        self.known(table, LAW_KEYS, "the law")
        name = self.text(table, "name")
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
            range={axis: self.interval(axis, pair) for axis, pair in self.table(table, "range", {}).items()},
            conditions={k: str(v) for k, v in self.table(table, "conditions", {}).items()},
            transfer_errors={
                q: TransferError(octaves=float(t["octaves"]), measured_on=str(t["measured_on"]))
                for q, t in self.table(table, "transfer_errors", {}).items()
            },
            landscape=self.landscape(table["landscape"]) if "landscape" in table else None,
            conflicts={k: str(v) for k, v in self.table(table, "conflicts", {}).items()},
            notes=tuple(str(n) for n in cast("list[Any]", table.get("notes", []))),
            fitted_on=str(table.get("fitted_on", "")),
            origin=origin,
        )

    def formula(self, quantity: str, table: Table) -> Formula:
        where = f"predicts.{quantity}"
        self.known(table, FORMULA_KEYS, where)
        family = self.choice(table, "family", tuple(FAMILIES), None, where)
        constants = self.numbers(table, "constants", where)
        if lacking := [c for c in FAMILIES[family].constants if c not in constants]:
            raise self.error(f"{where} of family {family} needs the constants {', '.join(lacking)}")
        exponents = self.numbers(table, "exponents", where)
        if FAMILIES[family].inputs is None and not exponents:
            raise self.error(f"{where} of family {family} needs exponents, such as {{ params = -0.7 }}")
        formula = Formula(
            quantity=quantity,
            family=family,
            constants=constants,
            exponents=exponents,
            input_units=self.numbers(table, "input_units", where),
            unit=str(table.get("unit", "")),
            unit_size=float(table.get("unit_size", 1.0)),
            maximum=float(table["maximum"]) if "maximum" in table else None,
            evidence=self.choice(table, "evidence", EVIDENCE, "primary", where),
            unverified=tuple(str(u) for u in cast("list[Any]", table.get("unverified", []))),
            note=str(table.get("note", "")),
            covariance_of=tuple(str(n) for n in cast("list[Any]", table.get("covariance_of", []))),
            covariance=tuple(
                tuple(float(v) for v in row) for row in cast("list[list[float]]", table.get("covariance", []))
            ),
            intervals={n: self.interval(n, p) for n, p in self.table(table, "intervals", {}).items()},
        )
        self.uncertainty(formula, where)
        return formula

    def uncertainty(self, formula: Formula, where: str) -> None:
        size = len(formula.covariance_of)
        if len(formula.covariance) != size or any(len(row) != size for row in formula.covariance):
            raise self.error(f"{where}.covariance must be {size} by {size}, one row for each name of covariance_of")
        for name in (*formula.covariance_of, *formula.intervals):
            if name not in formula.exponents and name.removeprefix("log ") not in formula.constants:
                raise self.error(f"{where} states an uncertainty of {name!r}, which is no constant or exponent of it")

    def source(self, table: Table) -> Source:
        return Source(
            paper=self.text(table, "paper", "source"),
            reference=self.text(table, "reference", "source"),
            place=str(table.get("place", "")),
            evidence=self.choice(table, "evidence", EVIDENCE, "primary", "source"),
        )

    def landscape(self, table: Table) -> Landscape:
        def slice_(axis: str) -> Slice:
            octaves, percent = (tuple(float(v) for v in table[f"{axis}_{k}"]) for k in ("octaves", "loss_gap_percent"))
            if len(octaves) != len(percent) or sorted(octaves) != list(octaves) or 0.0 not in octaves:
                raise self.error(f"landscape.{axis} needs ascending octaves through 0 and one loss gap for each")
            return Slice(octaves=octaves, loss_gap=tuple(p / 100 for p in percent))

        return Landscape(
            learning_rate=slice_("learning_rate"),
            batch_tokens=slice_("batch_tokens"),
            interaction=float(table["interaction_percent"]) / 100,
            ridge=float(table["ridge"]),
            source=str(table["source"]),
        )

    def error(self, message: str) -> ForescaleError:
        return ForescaleError(f"law file {self.path}: {message}.")

    def known(self, table: Table, keys: frozenset[str], where: str) -> None:
        if unknown := sorted(set(table) - keys):
            raise self.error(f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(keys))}")

    def table(self, parent: Table, key: str, default: Table | None = None) -> Table:
        value: Any = parent.get(key, default)
        if not isinstance(value, Mapping):
            raise self.error(f"a table [{key}] is required" if value is None else f"{key} must be a table")
        return cast(Table, value)

    def numbers(self, table: Table, key: str, where: str) -> dict[str, float]:
        values = self.table(table, key, {})
        for name, value in values.items():
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or value != value
                or abs(value) == float("inf")
            ):
                raise self.error(f"{where}.{key}.{name} must be a finite number; got {value!r}")
        return {name: float(value) for name, value in values.items()}

    def text(self, table: Table, key: str, where: str = "the law") -> str:
        value: Any = table.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(f"{where} needs {key!r}, a text")
        return value

    def choice(
        self, table: Table, key: str, options: tuple[str, ...], default: str | None, where: str = "the law"
    ) -> str:
        value: Any = table.get(key, default)
        if value not in options:
            raise self.error(f"{where} needs {key!r}, one of {', '.join(options)}; got {value!r}")
        return str(value)

    def interval(self, axis: str, pair: Any) -> tuple[float, float]:
        values = cast("list[Any]", pair) if isinstance(pair, list) else []
        if len(values) != 2 or not all(isinstance(v, (int, float)) for v in values) or not values[0] <= values[1]:
            raise self.error(f"the interval of {axis} must be [low, high] with low <= high; got {pair!r}")
        return float(values[0]), float(values[1])


# fmt: off
LAW_KEYS = frozenset({
    "schema_version", "name", "title", "kind", "predicts", "source", "params_means", "compute_means", "experts",
    "range", "conditions", "transfer_errors", "landscape", "conflicts", "notes", "fitted_on",
})
FORMULA_KEYS = frozenset({
    "family", "constants", "exponents", "input_units", "unit", "unit_size", "maximum", "evidence", "unverified", "note",
    "covariance_of", "covariance", "intervals",
})
# fmt: on
