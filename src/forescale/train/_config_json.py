"""A training config as JSON: written beside a run, compared when it is resumed, hashed for its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.train._config import EXECUTION, TrainConfig
from forescale.train._options import ModelOptions
from forescale.workload import Experts, LatentAttention, Shape


def config_to_json(config: TrainConfig) -> dict[str, Any]:
    """Plain JSON types, one key a field."""
    return _fields(config)


def config_from_json(values: Mapping[str, Any]) -> TrainConfig:
    """What `config_to_json` made; raises `ForescaleError` for keys that this version does not have."""
    if unknown := set(values) - {f.name for f in fields(TrainConfig)}:
        raise ForescaleError(
            f"a training config of this version has no {', '.join(sorted(unknown))}: resume with the version of "
            "forescale that wrote it."
        )
    made: dict[str, Any] = {name: _tuple(value) for name, value in values.items()}
    for name in ("shape", "base"):
        made[name] = None if values.get(name) is None else _shape(values[name])
    made["options"] = ModelOptions(**values["options"])
    return TrainConfig(**made)


def identity(config: TrainConfig) -> dict[str, Any]:
    """The fields that decide which run it is, as JSON."""
    return {name: value for name, value in config_to_json(config).items() if name not in EXECUTION}


def config_hash(config: TrainConfig) -> str:
    """Twelve hexadecimal digits of the identity."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:12]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON objects differ: the dotted key, the old value and the new one."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            nested = differences(cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after))
            yield from ((f"{key}.{inner}", a, b) for inner, a, b in nested)
        elif before != after:
            yield key, before, after


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Shape | ModelOptions | Experts | LatentAttention):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _tuple(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _shape(values: Mapping[str, Any]) -> Shape:
    """A shape from its JSON; what a base leaves unstated is 0 there."""
    stated = {key: value for key, value in values.items() if value or key not in ("layers", "heads", "vocab")}
    for name, kind in (("experts", Experts), ("latent", LatentAttention)):
        if stated.get(name) is not None:
            stated[name] = kind(**stated[name])
    return Shape(**stated)
