"""The records of a file that may still grow: one JSON text, row of CSV or printed line each, every line read once."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from forescale.curves.watch._text import printed
from forescale.errors import ForescaleError

TEXT = ("log", "txt", "out", "err")
Record = Mapping[str, Any]


@dataclass(kw_only=True)
class Lines:
    """A growing text file; `records` are those of the whole lines so far."""

    path: Path
    records: list[Record] = field(default_factory=list[Record])
    waiting: bytes = b""  # a line whose end is not there yet
    bad: int = 0  # lines that were none, other than a last one
    heading: Sequence[str] | None = None  # of CSV
    _offset: int = 0
    _start: bytes = b""  # the file's first bytes: another file in its place is read anew

    def poll(self) -> None:
        """Read what was appended; a file that was written anew is read from its start."""
        try:
            if self.path.suffix == ".gz":
                self._forget()
                new = gzip.decompress(self.path.read_bytes())
                self._offset = len(new)
            else:
                new = self._appended()
        except (OSError, EOFError) as error:
            raise ForescaleError(f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        *whole, self.waiting = (self.waiting + new).split(b"\n")
        for line in whole:
            self._take(line)

    def all_records(self) -> list[Record]:
        """The records, a last line without its end among them if it is a whole record all the same."""
        whole = self.waiting.strip() and self._reads() and not self.is_text  # half a printed line may look whole
        last = self._parsed(self.waiting) if whole else None
        return [*self.records, last] if last is not None else list(self.records)

    @property
    def size(self) -> int:
        """Bytes that were read."""
        return self._offset

    @property
    def cut(self) -> bool:
        """Whether the last line is half a record, so far."""
        waits = bool(self.waiting.strip()) and not self.is_text
        return waits and (not self._reads() or self._parsed(self.waiting) is None)

    def _appended(self) -> bytes:
        with self.path.open("rb") as file:
            start = file.read(256)
            size = file.seek(0, 2)
            if size < self._offset or not start.startswith(self._start[: len(start)]) or not self._start:
                self._forget()
            self._start = start
            file.seek(self._offset)
            new = file.read()
            self._offset += len(new)
            return new

    def _forget(self) -> None:
        self.records, self.waiting, self.bad, self.heading, self._offset = [], b"", 0, None, 0

    def _reads(self) -> bool:
        """Whether a line can be understood: CSV needs its heading first."""
        return not self._is_csv() or self.heading is not None

    def _is_csv(self) -> bool:
        return self._suffix() in ("csv", "tsv")

    @property
    def is_text(self) -> bool:
        """Whether the lines are printed for people, records among much else."""
        return self._suffix() in TEXT

    def _suffix(self) -> str:
        return self.path.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        if self._is_csv() and self.heading is None:
            self.heading = [cell.strip() for cell in self._cells(line)]
            return
        record = self._parsed(line)
        if record is not None:
            self.records.append(record)
        elif not self.is_text:
            self.bad += 1

    def _parsed(self, line: bytes) -> Record | None:
        if self._is_csv():
            cells, heading = self._cells(line), self.heading or ()
            return dict(zip(heading, cells, strict=True)) if len(cells) == len(heading) else None
        if self.is_text:
            return printed(line.decode("utf-8", "replace"))
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return cast("Record", value) if isinstance(value, dict) else None

    def _cells(self, line: bytes) -> list[str]:
        text = line.decode("utf-8-sig", "replace").rstrip("\r")
        rows: Iterator[list[str]] = csv.reader([text], delimiter="\t" if ".tsv" in self.path.name else ",")
        return next(rows, list[str]())
