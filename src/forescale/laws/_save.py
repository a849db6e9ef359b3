"""Write a law as TOML, in the form of the catalog, so that reading it gives the same law."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws._formula import Formula
from forescale.laws._landscape import Landscape
from forescale.laws._law import Law
from forescale.laws._load import SCHEMA_VERSION


def save_law(law: Law, path: str | Path) -> None:
    """Write `law` to a .toml file that `forescale.law(path)` reads back exactly; raise `ForescaleError` if it cannot."""
    path = Path(path)
    if path.suffix != ".toml":
        raise ForescaleError(f"a law is written as TOML, to a path ending in .toml; got {str(path)!r}.")
    try:
        path.write_text(law_toml(law), encoding="utf-8")
    except OSError as error:
        raise ForescaleError(f"the law file {path} cannot be written: {error.strerror or error}.") from None


def law_toml(law: Law) -> str:
    """The text of the file that `save_law` writes."""
    return "\n".join(_lines(law)) + "\n"


def _lines(law: Law) -> Iterator[str]:
    yield f"schema_version = {SCHEMA_VERSION}"
    for key in ("name", "title", "kind", "fitted_on", "experts", "params_means", "compute_means"):
        if value := getattr(law, key):
            yield f"{key} = {toml_value(value)}"
    yield from toml_list("notes", law.notes)
    yield from toml_table("source", {k: v for k, v in vars(law.source).items() if v})
    yield from toml_table("range", {axis: list(ends) for axis, ends in law.range.items()})
    yield from toml_table("conditions", law.conditions)
    for quantity, formula in law.predicts.items():
        yield from _formula(f"predicts.{_key(quantity)}", formula)
    if law.landscape is not None:
        yield from toml_table("landscape", _landscape(law.landscape))
    for quantity, error in law.transfer_errors.items():
        yield from toml_table(f"transfer_errors.{_key(quantity)}", vars(error))
    yield from toml_table("conflicts", law.conflicts)


def _formula(name: str, formula: Formula) -> Iterator[str]:
    unlike_others = ("quantity", "covariance")
    values = {k: v for k, v in vars(formula).items() if k not in unlike_others and v not in (None, "", (), {})}
    yield from toml_table(name, values)
    if formula.covariance:
        yield from toml_list("covariance", formula.covariance)


def _landscape(landscape: Landscape) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for axis in ("learning_rate", "batch_tokens"):
        valley = getattr(landscape, axis)
        table[f"{axis}_octaves"] = valley.octaves
        table[f"{axis}_loss_gap_percent"] = [_percent(gap) for gap in valley.loss_gap]
    interaction = _percent(landscape.interaction)
    return {**table, "interaction_percent": interaction, "ridge": landscape.ridge, "source": landscape.source}


def _percent(share: float) -> float:
    """The percentage that, divided by 100 as the reader does, gives the share again; the nearest where none does."""
    raw = 100 * share
    tries = (float(f"{raw:.12g}"), raw, math.nextafter(raw, math.inf), math.nextafter(raw, -math.inf))
    return next((p for p in tries if p / 100 == share), raw)


def toml_table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A table under its heading; nothing where it is empty."""
    if not values:
        return
    yield ""
    yield f"[{name}]"
    yield from (f"{_key(k)} = {toml_value(v)}" for k, v in values.items())


def toml_list(key: str, values: Sequence[Any]) -> Iterator[str]:
    """A list, one item a line."""
    if values:
        yield f"{key} = ["
        yield from (f"  {toml_value(v)}," for v in values)
        yield "]"


def toml_value(value: Any) -> str:
    """A value as TOML writes it; numbers as the float that reads back exactly."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes, but for this one
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(k))} = {toml_value(v)}" for k, v in _items(value)) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in _each(value)) + "]"
    return repr(float(value))


def _items(value: Any) -> Any:
    return value.items()


def _each(value: Any) -> Any:
    return value


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)
