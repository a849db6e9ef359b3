"""Reads the `config.json` of a Hugging Face model from disk."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from forescale.errors import ForescaleError, UnknownNameError
from forescale.workload._architectures import ARCHITECTURES, Keys
from forescale.workload._shape import Shape

_MAX_BYTES = 10_000_000  # real files hold a few kilobytes
_BY_HAND = "give numbers by hand with --params, --active-params and --tokens, or Shape(...) in Python"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `read_config` found; `max_seq_len` is in tokens, None where the file says null."""

    shape: Shape
    architecture: str  # the model_type; says so where only the text model of a multimodal one is described
    max_seq_len: int | None


def read_config(path: str | Path) -> Config:
    """Read a `config.json`, or the folder that holds one; keys that the file leaves out are those of transformers 5.23.

    Raises `ForescaleError`, starting with the path, for a file that cannot be read, is no model's configuration or
    states impossible sizes; `UnknownNameError` for an architecture that is not known.
    """
    file = _locate(Path(path))
    try:
        return parse_config(_load(file))
    except ForescaleError as error:
        raise type(error)(f"{file}: {error}") from None


def _locate(path: Path) -> Path:
    try:
        file = path / "config.json" if path.is_dir() else path
        if file.is_file():
            return file
        problem = "is not a regular file" if file.exists() else "does not exist"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    else:
        if file != path:
            raise ForescaleError(f"{path} is a folder without a config.json: give the folder or file of a model.")
    raise ForescaleError(f"{path} {problem}: give the path of a model's config.json (names are not looked up online).")


def _load(file: Path) -> dict[str, object]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ForescaleError("is over 10 MB, too large for a config.json: give that file, not weights or data.")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ForescaleError(f"cannot be read ({error.strerror}): check its permissions.") from None
    except UnicodeDecodeError:
        raise ForescaleError("is not UTF-8 text: give a model's config.json, not its weights.") from None
    if not text.strip():
        raise ForescaleError("is empty: download the model's config.json again.")
    return _parse(text)


def _parse(text: str) -> dict[str, object]:
    try:
        data: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise ForescaleError(
            f"is not valid JSON ({error.msg}, line {error.lineno}, column {error.colno}): "
            "the file may be cut short; download it again."
        ) from None
    except (ValueError, RecursionError):
        raise ForescaleError("holds JSON that no config.json holds: download the file again.") from None
    return _object(data, "the file")


def _object(data: object, what: str) -> dict[str, object]:
    if not isinstance(data, dict):
        raise ForescaleError(
            f"{what} must hold one JSON object of keys and values; got {_JSON_NAMES.get(type(data), 'null')}: "
            "give a model's config.json."
        )
    return cast("dict[str, object]", data)


_JSON_NAMES: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}


def parse_config(values: dict[str, object]) -> Config:
    """Read the keys and values of a `config.json`; errors as those of `read_config`, without a path."""
    model_type = values.get("model_type")
    if model_type is None:
        raise ForescaleError(f"has no model_type: give the config.json of a language model, or {_BY_HAND}.")
    if model_type == "gemma3":
        return _describe("gemma3_text", _gemma3_text(values), "gemma3, text model only")
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        known = ", ".join(sorted((*ARCHITECTURES, "gemma3")))
        raise UnknownNameError(f"model_type {reprlib.repr(model_type)} is not one of {known}: {_BY_HAND}.")
    return _describe(model_type, values, model_type)


def _gemma3_text(values: dict[str, object]) -> dict[str, object]:
    """The text model of a multimodal file; the outer file decides on tying, for it builds the output matrix."""
    text = values.get("text_config")
    tied = values.get("tie_word_embeddings", True)
    return {**_object({} if text is None else text, "text_config"), "tie_word_embeddings": tied}


def _describe(model_type: str, values: dict[str, object], label: str) -> Config:
    if values.get("per_layer_config") is not None:
        raise ForescaleError(f"per_layer_config varies sizes by layer, which is not supported: {_BY_HAND}.")
    architecture = ARCHITECTURES[model_type]
    keys = Keys(values=values, architecture=architecture)
    return Config(
        shape=architecture.build(keys), architecture=label, max_seq_len=keys.optional("max_position_embeddings")
    )
