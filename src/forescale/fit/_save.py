"""Write a law as TOML that reads back equal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.laws import Formula, Law

if TYPE_CHECKING:
    from forescale.laws import Landscape

FORMULA_KEYS = tuple(f.name for f in fields(Formula) if f.name not in ("quantity",))


def save_law(law: Law, path: str | Path) -> None:
    """Write `law` to a .toml file that `forescale.law` reads back with the same numbers; raise for another suffix."""
    target = Path(path)
    if target.suffix != ".toml":
        raise ForescaleError(f"a law is saved as .toml; got {target.name!r}: give a path ending in .toml.")
    try:
        target.write_text(law_text(law), encoding="utf-8")
    except OSError as error:
        raise ForescaleError(f"the law file {target} cannot be written: {error.strerror or error}.") from None


def law_text(law: Law) -> str:
    """The law as TOML."""
    top = {
        "schema_version": 1,
        **{k: getattr(law, k) for k in ("name", "title", "kind", "experts", "params_means", "compute_means")},
        "notes": law.notes,
        "fitted_on": law.fitted_on,
    }
    blocks = [_lines(top)]
    blocks.append(_table("source", vars_of(law.source)))
    for name in ("range", "conditions", "conflicts"):
        blocks.append(_table(name, getattr(law, name)))
    for quantity, formula in law.predicts.items():
        blocks.append(_table(f"predicts.{_key(quantity)}", {k: getattr(formula, k) for k in FORMULA_KEYS}))
    for quantity, error in law.transfer_errors.items():
        blocks.append(_table(f"transfer_errors.{_key(quantity)}", vars_of(error)))
    if law.landscape is not None:
        blocks.append(_table("landscape", _landscape(law.landscape)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def vars_of(value: Any) -> dict[str, Any]:
    """A dataclass's fields by name."""
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _landscape(landscape: Landscape) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for axis in ("learning_rate", "batch_tokens"):
        valley = getattr(landscape, axis)
        made[f"{axis}_octaves"] = valley.octaves
        made[f"{axis}_loss_gap_percent"] = [100 * g for g in valley.loss_gap]
    return made | {
        "interaction_percent": 100 * landscape.interaction,
        "ridge": landscape.ridge,
        "source": landscape.source,
    }


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = _lines(values)
    return f"[{name}]\n{lines}" if lines else ""


def _lines(values: Mapping[str, Any]) -> str:
    kept = {k: v for k, v in values.items() if v is not None and v not in ("", (), {})}
    return "\n".join(f"{_key(k)} = {_value(v)}" for k, v in kept.items())


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isalnum() and bare.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(float(value)) if isinstance(value, float) else repr(int(value))
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(k))} = {_value(v)}" for k, v in value.items())  # type: ignore[misc]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, Iterable):
        return "[" + ", ".join(_value(v) for v in value) + "]"  # type: ignore[misc]
    raise ForescaleError(f"a law file cannot hold {value!r}.")
