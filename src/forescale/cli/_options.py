"""Types of command line options: whole numbers that are never rounded, files that are never an empty text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

MOST = 2**53  # beyond, a float skips whole numbers


def whole(text: str, name: str) -> int:
    """A whole number, 0 or more, written as people do (4096, 4K); raise `ForescaleError` naming `name`."""
    value = 0.0 if text.strip() == "0" else parse_quantity(text, name)
    if value != int(value) or value > MOST:
        raise ForescaleError(f"{name} must be a whole number, at most {MOST}; got {text}.")
    return int(value)


def _whole(_type: Any, tokens: Sequence[Token]) -> int:
    return whole(tokens[0].value, tokens[0].keyword or "the number")


def _file(_type: Any, tokens: Sequence[Token]) -> Path:
    if not tokens[0].value.strip():
        raise ForescaleError(f"{tokens[0].keyword or 'the file'} must name a file; got an empty text.")
    return Path(tokens[0].value)


# A leading hyphen is taken as part of the number, so that `--params -7B` is told what is wrong with it.
Number = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Whole = Annotated[int, Parameter(converter=_whole, allow_leading_hyphen=True)]
OptionalWhole = Annotated[int | None, Parameter(converter=_whole, allow_leading_hyphen=True)]
File = Annotated[Path, Parameter(converter=_file)]
OptionalFile = Annotated[Path | None, Parameter(converter=_file)]
Flag = Annotated[bool, Parameter(negative="")]
Texts = Annotated[list[str] | None, Parameter(negative="")]
