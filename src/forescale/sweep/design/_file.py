"""Typed reading of a design file's tables: every error names the file and the key, and the nearest one that is known."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from forescale.errors import ForescaleError
from forescale.sweep.design._common import unknown_name

Table = Mapping[str, Any]
T = TypeVar("T")


def read_toml(path: Path) -> Table:
    """A TOML file's content."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ForescaleError(f"the design {path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForescaleError(f"the design {path} is not valid TOML: {error}.") from None


def table(content: Table, name: str, known: Iterable[str] | None = None) -> Table:
    """The table of that name, empty where there is none; a key that nothing reads is refused."""
    found: Any = content.get(name, {})
    if not isinstance(found, Mapping):
        raise ForescaleError(f"[{name}] must be a table; got {found!r}: write [{name}] on a line of its own.")
    if known is not None:
        check_keys(cast(Table, found), known, f"[{name}] has no")
    return cast(Table, found)


def check_keys(found: Table, known: Iterable[str], what: str) -> None:
    """Refuse a key that is not known."""
    names = frozenset(known)
    for key in found:
        if key not in names:
            raise unknown_name(key, names, what)


def take(found: Table, key: str, read: Callable[[str, Any], T]) -> T | None:
    """The value under a key as `read` reads it; None where it is not there."""
    return None if key not in found else read(key, found[key])


def text(name: str, value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ForescaleError(f"{name} must be a text; got {value!r}: write it in quotes.")
    return value


def flag(name: str, value: Any) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise ForescaleError(f"{name} is true or false; got {value!r}: correct it.")
    return value


@contextmanager
def named(path: Path) -> Generator[None]:
    """Errors that name the file."""
    try:
        yield
    except ForescaleError as error:
        raise type(error)(f"{path.name}: {error}") from None
