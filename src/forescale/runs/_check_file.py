"""What a runs file is, before it is parsed: spreadsheets, other encodings and other separators get their own sentence."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

from forescale.errors import ForescaleError

SPREADSHEETS = (".xlsx", ".xls", ".ods")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def check_kind(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse what is no table of text, whatever its name says; a file that cannot be opened is an `OSError`."""
    with path.open("rb") as file:
        start = file.read(4)
    last = suffixes[-1] if suffixes else ""
    if last in SPREADSHEETS or start == ZIP:
        raise ForescaleError(f"{path} is a spreadsheet or an archive: save the table as CSV and give that.")
    if start[:2] in UTF_16:
        raise ForescaleError(f"{path} is UTF-16 text: save it as UTF-8.")
    if last == ".gz" and start[:2] != GZIP:
        raise ForescaleError(f"{path} is not compressed, though its name ends in .gz: rename it without .gz.")


def check_header(path: Path, suffixes: Sequence[str], separator: str) -> None:
    """Refuse a table whose header is divided by something else, or names a column twice."""
    line = _first_line(path, compressed=suffixes[-1:] == [".gz"])
    seen = [other for other in SEPARATORS if other != separator and other in line]
    if separator not in line and seen:
        wanted, found = SEPARATORS[separator], SEPARATORS[seen[0]]
        how = "name it .tsv" if seen[0] == "\t" else f"save it with {wanted}"
        raise ForescaleError(f"{path} must be divided by {wanted}; its header has {found}: {how}.")
    names: list[str] = next(csv.reader([line], delimiter=separator), [""])
    check_names(names, str(path))


def check_names(names: Sequence[str], source: str) -> None:
    """Refuse two columns of one name: which of them is meant cannot be known."""
    stripped = [name.strip() for name in names]
    if twice := [name for name in stripped if name and stripped.count(name) > 1]:
        raise ForescaleError(f"{source} must not have two columns of one name; got {twice[0]!r} twice: rename one.")


def _first_line(path: Path, *, compressed: bool) -> str:
    with gzip.open(path, "rb") if compressed else path.open("rb") as file:
        return file.readline(1_000_000).decode("utf-8-sig", errors="replace").strip("\r\n")
