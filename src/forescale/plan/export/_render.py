"""Text of Python, YAML and shell files, written so that reading it back gives the same numbers."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

Scalar = float | int | str | bool | None
Literal = Scalar | tuple[float, ...] | tuple[Mapping[str, int], ...] | Mapping[str, float | int | str]

WIDTH = 100  # of a comment line

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True)
class Item:
    """One value of an exported file and the trailing comment that says where it comes from."""

    value: Literal
    comment: str = ""


Tree = Mapping[str, "Item | Tree"]


def one_line(text: str) -> str:
    """`text` as a part of a comment: all white space, line breaks too, becomes single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def comment(text: str) -> list[str]:
    """Full-line comments in Python, YAML and shell, wrapped."""
    return textwrap.wrap(one_line(text), WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)


def python(value: Literal) -> str:
    """A Python literal; floats round-trip exactly."""
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, str):
        return _quoted(value)
    return repr(dict(value) if isinstance(value, Mapping) else value)


def python_kwargs(items: Mapping[str, Item], indent: int = 4) -> list[str]:
    """`name=value,  # comment`, one line an item."""
    return [_line(f"{' ' * indent}{name}={python(item.value)},", item) for name, item in items.items()]


def python_entries(items: Mapping[str, Item], indent: int = 4) -> list[str]:
    """`"name": value,  # comment`, one line an item."""
    return [_line(f"{' ' * indent}{_quoted(name)}: {python(item.value)},", item) for name, item in items.items()]


def python_assignments(items: Mapping[str, Item], indent: int = 4) -> list[str]:
    """`name = value  # comment`, one line an item."""
    return [_line(f"{' ' * indent}{name} = {python(item.value)}", item) for name, item in items.items()]


def yaml(value: Literal) -> str:
    """A scalar or a flow list that YAML 1.1 and 1.2 parsers read alike; floats round-trip exactly."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _yaml_float(value)
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS else _quoted(value)
    if isinstance(value, tuple):
        return f"[{', '.join(yaml(v) for v in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {yaml(v)}' for key, v in value.items())}}}"
    assert isinstance(value, int), value
    return str(value)


def yaml_lines(tree: Tree, indent: int = 0) -> list[str]:
    """A block mapping, two spaces a level, with trailing comments."""
    lines: list[str] = []
    for name, node in tree.items():
        if isinstance(node, Item):
            lines.append(_line(f"{' ' * indent}{name}: {yaml(node.value)}", node))
        else:
            lines += [f"{' ' * indent}{name}:", *yaml_lines(node, indent + 2)]
    return lines


def shell_array(name: str, flags: Mapping[str, Item], separator: str = " ") -> list[str]:
    """A bash array of flags, one line each, with room for comments (a continued command has none); True is a flag."""
    lines = [_line(f"  --{flag}{_argument(item.value, separator)}", item) for flag, item in flags.items()]
    return [f"{name}=(", *lines, ")"]


def _argument(value: Literal, separator: str) -> str:
    return "" if value is True else f"{separator}{_word(value)}"


def _word(value: Literal) -> str:
    assert isinstance(value, int | float | str), value
    text = _finite(value) if isinstance(value, float) else str(value)
    if re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        return text
    assert re.fullmatch(r"[A-Za-z0-9_.:+ -]+", text), text
    return f'"{text}"'


def _line(text: str, item: Item) -> str:
    return f"{text}  # {one_line(item.comment)}" if item.comment else text


def _finite(value: float) -> str:
    assert math.isfinite(value), value
    return repr(value)


def _quoted(text: str) -> str:
    assert text.isascii(), text  # JSON's surrogate pairs are not Python's or YAML's
    return json.dumps(text)


def _yaml_float(value: float) -> str:
    # PyYAML reads "1e-08" as a string: YAML 1.1 wants a dot in every float.
    mantissa, e, exponent = _finite(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{e}{exponent}"
