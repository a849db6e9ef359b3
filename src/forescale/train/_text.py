"""Bytes checked to be UTF-8 text, and a tally of what was found on the way."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Literal

from forescale.errors import ForescaleError

MANY = 0.1  # of a piece: beyond, it is no text with a few bad bytes
FEW = 16  # bad bytes that any piece may have
BAD = "\ufffd".encode()
MARK = codecs.BOM_UTF8

Errors = Literal["strict", "replace"]


@dataclass(kw_only=True)
class Tally:
    """Counts while sources are read."""

    files: int = 0
    documents: int = 0
    bytes: int = 0  # of text, as it is tokenised
    empty: int = 0  # documents without text
    replaced: int = 0  # places that were no text
    carriage: bool = False  # whether a line ended with CR LF
    marks: int = 0  # byte order marks that were dropped
    skipped: list[str] = field(default_factory=list[str])  # files that cannot be read as text

    def add(self, other: Tally) -> None:
        """Count what another tally counted."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        said = {
            f"{len(self.skipped)} files are not UTF-8 text and left out: {', '.join(self.skipped[:5])}": self.skipped,
            f"{self.empty:,} documents without text are left out": self.empty,
            f"{self.replaced:,} places that are not UTF-8 text became U+FFFD (errors='replace')": self.replaced,
            f"{self.marks} byte order marks were dropped": self.marks,
            "lines end with CR LF in places; they are kept as they are": self.carriage,
        }
        return tuple(note for note, happened in said.items() if happened)


def encoded(text: str, where: str, errors: Errors, tally: Tally) -> bytes:
    """A string as UTF-8; lone surrogates and NUL are not text."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        if errors == "strict":
            raise ForescaleError(
                f"text must be valid Unicode; {where} holds half a surrogate pair at character {error.start}: correct it "
                "or read with errors='replace'."
            ) from None
        data = text.encode("utf-8", "surrogatepass")
    return checked(data, where, 0, errors, tally)


def checked(data: bytes, where: str, offset: int, errors: Errors, tally: Tally, *, quiet: bool = False) -> bytes:
    """`data` as valid UTF-8 without NUL; `offset` is where it lies in the whole. Quiet: bytes and line ends not counted.

    Raises `ForescaleError` for what is not text, or with errors='replace' for what is mostly not.
    """
    if offset == 0 and data.startswith(MARK):
        data, tally.marks = data[len(MARK) :], tally.marks + 1
        offset = len(MARK)
    if b"\0" in data:
        data = _without_nul(data, where, offset, errors, tally)
    if not data.isascii():
        data = _valid(data, where, offset, errors, tally)
    if not quiet:
        tally.bytes += len(data)
        tally.carriage = tally.carriage or b"\r\n" in data
    return data


def _without_nul(data: bytes, where: str, offset: int, errors: Errors, tally: Tally) -> bytes:
    count = data.count(b"\0")
    if errors == "strict" or count > max(FEW, MANY * len(data)):
        wide = offset == 0 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        mend = "convert it, iconv -f UTF-16 -t UTF-8" if wide else f"leave it out{_or_replace(errors, count, data)}"
        raise ForescaleError(
            f"the data must be UTF-8 text; {where} is {'UTF-16' if wide else 'binary data'}: a NUL byte at offset "
            f"{offset + data.index(0)} ({count:,} of {len(data):,} bytes): {mend}."
        )
    tally.replaced += count
    return data.replace(b"\0", BAD)


def _valid(data: bytes, where: str, offset: int, errors: Errors, tally: Tally) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        text, count = _replaced(data)
        if errors == "strict" or count > max(FEW, MANY * len(data)):
            what = "is binary data or text of another encoding" if count > MANY * len(data) else "is not"
            raise ForescaleError(
                f"the data must be UTF-8 text; {where} {what}: byte 0x{data[error.start]:02x} at offset "
                f"{offset + error.start}, {count:,} of {len(data):,} bytes: convert it, such as iconv -f WINDOWS-1252 "
                f"-t UTF-8{_or_replace(errors, count, data)}."
            ) from None
        tally.replaced += count
        return text.encode()
    return data


def _or_replace(errors: Errors, count: int, data: bytes) -> str:
    usable = errors == "strict" and count <= max(FEW, MANY * len(data))
    return ", or read with errors='replace'" if usable else ""


def _replaced(data: bytes) -> tuple[str, int]:
    """The text with U+FFFD for what is not UTF-8, and in how many places that was."""
    text = data.decode("utf-8", "replace")
    return text, text.count("\ufffd") - data.count(BAD)
