"""A line of JSON a step, in a file that a resumed run continues without a gap or a repetition."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from forescale.train._files import replace_file, why
from forescale.train._sinks import Sink

Record = dict[str, Any]


class Metrics:
    """Records by step, written to a file and passed to the trackers."""

    def __init__(self, path: Path, step: int, sinks: Sequence[Sink] = ()) -> None:
        self.path, self.sinks = path, sinks
        self.kept = records_until(path, step)
        self.problem: str | None = None  # why the last write failed; the lines wait for the next
        self._waiting = b""
        replace_file(path, lambda file: file.writelines(_line(record) for record in self.kept))

    def write(self, records: Iterable[Record], *, sync: bool = False) -> None:
        """Append the records; where the disk is full, they wait for the next call."""
        made = list(records)
        for sink in self.sinks:
            sink.add(made)
        self._waiting += b"".join(map(_line, made))
        size = self.path.stat().st_size
        try:
            with self.path.open("ab") as file:
                file.write(self._waiting)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            self._waiting, self.problem = b"", None
        except OSError as error:
            os.truncate(self.path, size)  # half a line is none
            self.problem = why(error)

    def close(self) -> None:
        """Let the trackers finish."""
        for sink in self.sinks:
            sink.close()


def _line(record: Record) -> bytes:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(finite, allow_nan=False).encode() + b"\n"


def records_until(path: Path, step: int) -> list[Record]:
    """The records of a file up to a step; a last line that was cut short is left out."""
    kept: list[Record] = []
    if not path.is_file():
        return kept
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            record: Record = json.loads(line)
            if record["step"] > step:
                break
            kept.append(record)
    return kept
