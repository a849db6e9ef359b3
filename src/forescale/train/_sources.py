"""What a corpus is read from: files, folders, globs, Hugging Face streams and rows in hand, found and described."""

from __future__ import annotations

import glob
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

from forescale.errors import ForescaleError

HUB = "hf:"
STDLIB = "python-stdlib"
LINES = (".jsonl", ".ndjson")
PACKED = (".gz", ".zst", ".zstd")
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}  # of the standard library
SNIFFED = 8192

Kind = Literal["text", "lines", "parquet"]
Packing = Literal["gz", "zst"]


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of text, JSON lines or Parquet."""

    path: Path
    size: int  # bytes on disk
    mtime_ns: int
    kind: Kind
    packing: Packing | None = None
    optional: bool = False  # left out and counted where it cannot be read

    @property
    def key(self) -> list[Any]:
        """What decides whether its tokens are still the same."""
        return [str(self.path), self.size, self.mtime_ns, self.kind]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows in hand, such as a `datasets` stream: mappings with text, or texts.

    The cache knows rows by their `name`: give other rows another one.
    """

    name: str
    rows: Iterable[Any] | Callable[[], Iterable[Any]]

    @property
    def key(self) -> list[Any]:
        """The name, with a hash of what lies in a list, or the fingerprint of a `datasets` data set."""
        rows: Any = self.rows
        if isinstance(rows, (list, tuple)):
            return ["rows", self.name, sha256(repr(cast("list[Any]", rows)).encode()).hexdigest()]
        return ["rows", self.name, str(getattr(self.rows, "_fingerprint", ""))]


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A data set that the `datasets` package streams."""

    name: str
    config: str | None
    split: str

    @property
    def key(self) -> list[Any]:
        """The three parts of its address."""
        return ["hf", self.name, self.config, self.split]


Source = File | Rows | Hub
Given = str | Path | Rows


@dataclass(frozen=True, kw_only=True)
class Found:
    """Sources in the order in which they are read, and what was left out of them."""

    given: tuple[str, ...]  # as the user wrote it
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_stream(self) -> bool:
        """Whether any source has no known end."""
        return any(not isinstance(source, File) for source in self.sources)

    @property
    def size(self) -> int | None:
        """Bytes on disk; None for a stream."""
        return None if self.is_stream else sum(source.size for source in self.sources if isinstance(source, File))


def find_sources(given: Given | Sequence[Given] | None, key: str | None = None) -> Found:
    """The sources that paths, globs, `hf:` addresses and rows name; None: the sources of Python's standard library.

    `key` is where the text stands in records; a file called .json is JSON lines where its first line has text there.
    """
    if given is None:
        return _standard_library()
    every = [given] if isinstance(given, (str, Path, Rows)) else list(given)
    if not every:
        raise ForescaleError("the data must name at least one file; an empty list arrived: name a file or a folder.")
    found = [_find(one, key) for one in every]
    sources: dict[str, Source] = {}
    for source in (source for one in found for source in one.sources):
        sources.setdefault(_identity(source), source)  # a file named twice is read once
    return Found(
        given=tuple(one.name if isinstance(one, Rows) else str(one) for one in every),
        sources=tuple(sources.values()),
        notes=(*(note for one in found for note in one.notes), *_lines_by_content(sources.values())),
    )


def without(found: Found, others: Found) -> Found:
    """The sources that are not among `others`."""
    known = {_identity(source) for source in others.sources}
    kept = tuple(source for source in found.sources if _identity(source) not in known)
    dropped = len(found.sources) - len(kept)
    note = f"{dropped} of the files are held out and not trained on"
    return replace(found, sources=kept, notes=(*found.notes, note)) if dropped else found


def _identity(source: Source) -> str:
    return str(source.path.resolve()) if isinstance(source, File) else repr(source.key)


def _find(given: Given, key: str | None) -> Found:
    if isinstance(given, Rows):
        return Found(given=(given.name,), sources=(given,))
    text = str(given)
    if text.startswith(HUB):
        return Found(given=(text,), sources=(hub_address(text),))
    path = Path(given).expanduser()
    if path.is_dir():
        return _folder(path, key)
    if path.is_file():
        return Found(given=(text,), sources=(describe_file(path.absolute(), key),))
    return _glob(str(path), key)


def hub_address(text: str) -> Hub:
    """`hf:NAME[:CONFIG][:SPLIT]`; a single part after the name is a split if it is called like one, else a config."""
    name, *parts = text.removeprefix(HUB).split(":")
    if not name or len(parts) > 2 or not all(parts):
        raise ForescaleError(f"a data set's address is hf:NAME[:CONFIG][:SPLIT]; got {text!r}: write it so.")
    if len(parts) == 1 and parts[0] in ("train", "validation", "valid", "test"):
        return Hub(name=name, config=None, split=parts[0])
    return Hub(name=name, config=parts[0] if parts else None, split=parts[1] if len(parts) == 2 else "train")


def _glob(pattern: str, key: str | None) -> Found:
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - pathlib has no patterns from the root
    paths = sorted(Path(name).absolute() for name in names)
    files = [path for path in paths if path.is_file()]
    if not files:
        what = "matches no file" if glob.has_magic(pattern) else "does not exist"
        raise ForescaleError(f"the data must be files that exist; {pattern} {what}: correct the path or the pattern.")
    return Found(given=(pattern,), sources=tuple(describe_file(path, key) for path in files))


def _folder(folder: Path, key: str | None) -> Found:
    """Every file below a folder that can be text; where some are JSON lines or Parquet, only these are data."""
    files = [path for path in _walk(folder.absolute()) if not path.name.startswith(".")]
    known = [describe_file(path, key) for path in files]
    texts = [file for file in known if file.kind != "text" or not _holds_nul(file)]
    records = [file for file in texts if file.kind != "text"]
    sources = records or texts
    if not sources:
        raise ForescaleError(
            f"the data must hold at least one file of text; the folder {folder} holds none ({len(files)} other files): "
            "name the files."
        )
    return Found(given=(str(folder),), sources=tuple(sources), notes=_left_out(folder, len(known), texts, records))


def _left_out(folder: Path, files: int, texts: list[File], records: list[File]) -> tuple[str, ...]:
    notes: list[str] = []
    if files > len(texts):
        notes.append(f"{folder.name}: {files - len(texts)} binary files are left out")
    if records and len(texts) > len(records):
        others = len(texts) - len(records)
        notes.append(
            f"{folder.name}: {others} other files beside JSON lines and Parquet are left out: name them to read"
        )
    return tuple(notes)


def _walk(folder: Path, left_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Files below a folder, sorted by their path; hidden folders and links to folders are not entered."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        found += [Path(root, name) for name in names]
    return iter(sorted(path for path in found if path.is_file()))


def describe_file(path: Path, key: str | None = None) -> File:
    """A file's kind by its first bytes; JSON lines by its suffix, with or without .gz or .zst, .json by its first line."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise ForescaleError(
            f"the data must be readable; {path}: {error.strerror}: correct it or leave it out."
        ) from None
    packing = _packing(head)
    kind: Kind = "parquet" if head == b"PAR1" else "lines" if _is_lines(path) else "text"
    file = File(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, kind=kind, packing=packing)
    return replace(file, kind="lines") if kind == "text" and _suffix(path) == ".json" and _starts(file, key) else file


def _packing(head: bytes) -> Packing | None:
    if head[:2] == b"\x1f\x8b":
        return "gz"
    return "zst" if head == b"\x28\xb5\x2f\xfd" else None


def _suffix(path: Path) -> str:
    """Without that of a packing."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return name.suffix.lower()


def _is_lines(path: Path) -> bool:
    return _suffix(path) in LINES


def _starts(file: File, key: str | None) -> bool:
    """Whether the first line is an object with text under the key."""
    from forescale.train._documents import TEXT, first_line

    try:
        record: Any = json.loads(first_line(file))
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and isinstance(cast("dict[str, Any]", record).get(key or TEXT), str)


def _lines_by_content(sources: Iterable[Source]) -> tuple[str, ...]:
    files = [s for s in sources if isinstance(s, File) and s.kind == "lines" and not _is_lines(s.path)]
    names = ", ".join(file.path.name for file in files[:5])
    return (f"{len(files)} files called .json hold JSON lines and are read as such: {names}",) if files else ()


def _holds_nul(file: File) -> bool:
    from forescale.train._documents import chunks

    first, _ = next(chunks(file, at_once=SNIFFED), (b"", 0))
    return b"\0" in first[:SNIFFED]


def _standard_library() -> Found:
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in _walk(folder, frozenset(LEFT_OUT)) if path.suffix == ".py"]
    if not paths:
        raise ForescaleError(f"this Python has no sources of its standard library in {folder}: name a file of text.")
    files = tuple(replace(describe_file(path), optional=True) for path in paths)
    note = f"no data was named: the text is the standard library of Python {'.'.join(map(str, sys.version_info[:3]))}"
    return Found(given=(STDLIB,), sources=files, notes=(note,))
