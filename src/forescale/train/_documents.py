"""Sources read as pieces of UTF-8 text, document by document; a piece is at most about a mebibyte of a file of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from forescale.errors import ForescaleError, MissingExtraError
from forescale.train._sources import File, Hub, Rows, Source
from forescale.train._text import Tally, checked, encoded

if TYPE_CHECKING:
    import polars

PIECE = 1 << 20  # bytes of one piece of a file of text
READ = 1 << 17  # packed bytes that are unpacked at once
TEXT = "text"
ROWS_AT_ONCE = 1 << 26  # bytes on disk of the rows of a Parquet file that are read at once


class Piece(NamedTuple):
    """A part of a document."""

    data: bytes  # UTF-8, without NUL
    ends: bool  # whether the document ends here
    read: int  # bytes on disk that were read for it


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How text is taken from sources."""

    key: str | None = None  # of a JSON line, a column or a row; None: `text`, or the only one that holds text
    errors: Literal["strict", "replace"] = "strict"


def read_pieces(sources: Iterable[Source], reading: Reading, tally: Tally) -> Iterator[Piece]:
    """The text of all sources in order; empty documents are left out and counted in `tally`."""
    for source in sources:
        if not isinstance(source, File):
            yield from _stream(source, reading, tally)
        elif source.optional:
            yield from _whole(source, reading, tally)
        else:
            yield from _file(source, reading, tally)


def _whole(file: File, reading: Reading, tally: Tally) -> list[Piece]:
    """A file that may be left out: all of it or nothing."""
    mine = Tally()
    try:
        pieces = list(_file(file, reading, mine))
    except ForescaleError:
        tally.skipped.append(file.path.name)
        return []
    tally.add(mine)
    return pieces


def _file(file: File, reading: Reading, tally: Tally) -> Iterator[Piece]:
    read = {"text": _text_file, "lines": _json_lines, "parquet": _parquet}[file.kind]
    try:
        yield from read(file, reading, tally)
    except OSError as error:
        raise ForescaleError(
            f"the data must be readable; {file.path}: {error.strerror or error}: correct it or leave it out."
        ) from None
    tally.files += 1


def _text_file(file: File, reading: Reading, tally: Tally) -> Iterator[Piece]:
    before: Piece | None = None
    offset = 0
    for raw, read in _cut(chunks(file)):
        data = checked(raw, str(file.path), offset, reading.errors, tally)
        offset += len(raw)
        if not data:
            continue
        if before is not None:
            yield before
        before = Piece(data, False, read)
    if before is None:
        tally.empty += 1
        return
    tally.documents += 1
    yield before._replace(ends=True)


def _cut(parts: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Pieces that end with a line, or at least between two characters."""
    rest, pending = b"", 0
    for part, read in parts:
        rest, pending, start = rest + part, pending + read, 0
        while len(rest) - start >= PIECE:
            end = rest.rfind(b"\n", start, start + PIECE) + 1 or start + _boundary(rest[start : start + PIECE])
            yield rest[start:end], pending
            start, pending = end, 0
        rest = rest[start:]
    if rest:
        yield rest, pending


def _boundary(data: bytes) -> int:
    """Where the last character begins."""
    for back in range(1, 5):
        if data[-back] & 0xC0 != 0x80:
            return len(data) - back
    return len(data)


def chunks(file: File, at_once: int = PIECE) -> Iterator[tuple[bytes, int]]:
    """The unpacked content of a file, with the bytes on disk that were read for it."""
    with file.path.open("rb") as handle:
        if file.packing is None:
            yield from ((data, len(data)) for data in iter(lambda: handle.read(at_once), b""))
        else:
            yield from _unpacked(file, iter(lambda: handle.read(READ), b""))


def _unpacked(file: File, packed: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """Every frame of a .gz or .zst file; `ForescaleError` where one is damaged or ends too early."""
    fresh, broken = _unpacker(file)
    stream, whole = fresh(), False
    try:
        for part in packed:
            rest, read = part, len(part)
            while rest := rest.lstrip(b"\0") if whole else rest:  # zeros may fill up the end
                stream = fresh() if whole else stream
                yield stream.decompress(rest), read
                whole, rest, read = stream.eof, stream.unused_data, 0
    except broken as error:
        raise _damaged(file, str(error)) from None
    if not whole:
        raise _damaged(file, "it ends in the middle")


def _unpacker(file: File) -> tuple[Any, Any]:
    if file.packing == "gz":
        import zlib

        return (lambda: zlib.decompressobj(wbits=31)), zlib.error
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError(f"{file.path.name} needs zstandard to read: pip install 'forescale[train]'.") from None
    return (lambda: zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()), zstandard.ZstdError


def _damaged(file: File, why: str) -> ForescaleError:
    return ForescaleError(
        f"a .{file.packing} file must be whole; {file.path} is damaged ({why}): fetch it again or leave it out."
    )


def _json_lines(file: File, reading: Reading, tally: Tally) -> Iterator[Piece]:
    key = reading.key
    for number, (line, read) in enumerate(_lines(chunks(file)), start=1):
        if not line.strip():
            continue
        where = f"{file.path}, line {number}"
        record = _record(checked(line, where, 0, reading.errors, tally, quiet=True), where)
        key = key or text_key(record, where)
        yield from _document(record.get(key), key, where, reading, tally, read)


def first_line(file: File) -> bytes:
    """The first line, or what there is of it within 16 MiB."""
    found = b""
    for part, _ in chunks(file):
        found += part
        if b"\n" in part or len(found) >= 16 * PIECE:
            break
    return found.partition(b"\n")[0]


def _lines(parts: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    rest: list[bytes] = []
    pending = 0
    for part, read in parts:
        pending += read
        first, *others = part.split(b"\n")
        rest.append(first)
        if others:
            yield b"".join(rest), pending
            yield from ((line, 0) for line in others[:-1])
            rest, pending = [others[-1]], 0
    yield b"".join(rest), pending


def _record(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ForescaleError(f"a line must hold one JSON object; {where} does not ({error}): correct it.") from None
    if not isinstance(record, dict):
        raise ForescaleError(f"a line must hold one JSON object; {where} holds {line[:40]!r}: correct it.")
    return cast("dict[str, Any]", record)


def text_key(record: Mapping[str, Any], where: str) -> str:
    """`text`, or the only key that holds text."""
    if TEXT in record:
        return TEXT
    texts = [key for key, value in record.items() if isinstance(value, str)]
    if len(texts) != 1:
        raise ForescaleError(
            f"the text must stand under the key 'text' or under the only key that holds text; {where} has "
            f"{', '.join(map(str, record)) or 'none'}: name the key."
        )
    return texts[0]


def _document(value: Any, key: str, where: str, reading: Reading, tally: Tally, read: int) -> Iterator[Piece]:
    if not isinstance(value, str):
        what = "is missing" if value is None else f"is {type(value).__name__}"
        raise ForescaleError(
            f"every record must hold text under the key {key!r}; in {where} it {what}: correct the record or the key."
        )
    if data := encoded(value, where, reading.errors, tally):
        tally.documents += 1
        yield Piece(data, True, read)
    else:
        tally.empty += 1


def _parquet(file: File, reading: Reading, tally: Tally) -> Iterator[Piece]:
    import polars as pl

    try:
        frame = pl.scan_parquet(file.path)
        column = reading.key or _text_column(frame, file)
        rows: int = frame.select(pl.len()).collect().item()
        at_once = max(1, rows * ROWS_AT_ONCE // file.size)
        for start in range(0, rows, at_once):
            texts = frame.select(column).slice(start, at_once).collect().to_series()
            yield from _column(texts, file, start, rows, reading, tally)
    except pl.exceptions.PolarsError as error:
        raise ForescaleError(f"a Parquet file must hold a column of text; {file.path}: {error}") from None


def _text_column(frame: polars.LazyFrame, file: File) -> str:
    import polars as pl

    types = frame.collect_schema()
    record = {name: "" if kind == pl.String else None for name, kind in types.items()}
    return text_key(record, str(file.path))


def _column(texts: polars.Series, file: File, start: int, rows: int, reading: Reading, tally: Tally) -> Iterator[Piece]:
    read = file.size // rows
    for row, text in enumerate(texts, start=start + 1):
        if text is None:
            tally.empty += 1
        else:
            yield from _document(text, texts.name, f"{file.path}, row {row}", reading, tally, read)


def _stream(source: Rows | Hub, reading: Reading, tally: Tally) -> Iterator[Piece]:
    key = reading.key
    for number, row in enumerate(_rows(source), start=1):
        where = f"{source.name}, row {number}"
        if isinstance(row, str):
            yield from _document(row, "text", where, reading, tally, 0)
            continue
        if not isinstance(row, Mapping):
            raise ForescaleError(f"a row must be text or a mapping; {where} is {type(row).__name__}: convert it.")
        record = cast("Mapping[str, Any]", row)
        key = key or text_key(record, where)
        yield from _document(record.get(key), key, where, reading, tally, 0)


def _rows(source: Rows | Hub) -> Iterator[Any]:
    try:
        if isinstance(source, Hub):
            yield from _hub_rows(source)
        else:
            yield from source.rows() if callable(source.rows) else source.rows
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ForescaleError):
            raise
        raise ForescaleError(
            f"the data set {source.name} must be there to stream; {type(error).__name__}: {error}: check its name, "
            "configuration, split and the connection."
        ) from error


def _hub_rows(source: Hub) -> Iterable[Any]:
    try:
        datasets: Any = import_module("datasets")  # without stubs
    except ImportError:
        raise MissingExtraError(f"hf:{source.name} needs datasets to stream: pip install datasets.") from None
    return datasets.load_dataset(source.name, source.config, split=source.split, streaming=True)
