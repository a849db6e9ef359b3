"""Text with fields in braces, as `--lr {learning_rate:.3e}`: which fields it has, and the text that they make."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError

Quote = Callable[[str], str]


def fields(template: str) -> list[str]:
    """The names of the fields, each once. Raises `ForescaleError` for braces that are no plain field."""
    return list(dict.fromkeys(name for _, name, _ in _pieces(template) if name is not None))


def fill(template: str, values: Mapping[str, Any], quote: Quote = str) -> str:
    """The text with its fields filled in. Raises `UnknownNameError` for a field that `values` lack."""
    made: list[str] = []
    for literal, name, form in _pieces(template):
        made.append(literal)
        if name is not None:
            made.append(quote(_formatted(values, name, form, template)))
    return "".join(made)


def arguments(template: str, values: Mapping[str, Any], *, shell: bool = False) -> list[str]:
    """The program and its arguments. The template is split before it is filled: a value never becomes two arguments.

    With `shell`, the one argument is a line for `sh -c`, its values quoted.
    """
    if shell:
        return ["/bin/sh", "-c", fill(template, values, shlex.quote)]
    return [fill(part, values) for part in split(template)]


def split(template: str) -> list[str]:
    """The template as a shell would split it; raises `ForescaleError` where it is empty or a quote stays open."""
    try:
        parts = shlex.split(template)
    except ValueError as error:
        raise ForescaleError(f"the command {template!r} cannot be split ({error}): close its quotes.") from None
    if not parts:
        raise ForescaleError("the command is empty: write the program and its options, as python train.py --lr {...}.")
    return parts


def _pieces(template: str) -> Iterator[tuple[str, str | None, str]]:
    """Literal text and the name and format of the field behind it."""
    try:
        for literal, name, form, conversion in Formatter().parse(template):
            if name is not None and (not name.isidentifier() or conversion or "{" in (form or "")):
                raise ValueError(f"{{{name}}} is none")
            yield literal, name, form or ""
    except ValueError as error:
        raise ForescaleError(
            f"fields are written {{name}} or {{name:format}}, and braces of your own doubled, {{{{ }}}}; in {template!r} "
            f"{error}: correct it."
        ) from None


def _formatted(values: Mapping[str, Any], name: str, form: str, template: str) -> str:
    if name not in values:
        raise UnknownNameError(f"{template!r} has the field {name}, which does not exist; there are {listed(values)}.")
    try:
        return format(values[name], form)
    except (ValueError, TypeError) as error:
        raise ForescaleError(
            f"{{{name}:{form}}} cannot write {name} = {values[name]!r} ({error}): choose another format."
        ) from None


def listed(names: Iterable[str]) -> str:
    """Names in one line."""
    return ", ".join(sorted(names))
