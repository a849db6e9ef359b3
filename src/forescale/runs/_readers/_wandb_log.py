"""The log that W&B keeps of a local run (`run-ID.wandb`): of an offline run it is all there is.

The `wandb` package has no public reader of it. The format: seven bytes of header, then LevelDB's log framing in blocks
of 32 KiB, each record a protobuf message of which a few fields are wanted. Seen: wandb 0.31.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.runs._readers._files import MOST_BYTES, as_dict

HEADER, BLOCK, FRAME = b":W&B\xe1\xbe\x00", 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# Field numbers: of a record, of a run, of an item.
HISTORY, SUMMARY, CONFIG, RUN, EXIT = 2, 3, 5, 17, 18
RUN_ID, RUN_CONFIG, RUN_SUMMARY, DISPLAY_NAME = 1, 4, 5, 8
KEY, NESTED_KEY, INTEGER, NUMBER, TEXT, JSON, VALUE_JSON = 1, 2, 5, 6, 7, 8, 16

Fields = list[tuple[int, Any]]  # number, and an int for a varint, bytes for anything else


@dataclass(kw_only=True)
class Log:
    """What a run logged; the exit code is None if it never ended."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    exit_code: int | None = None


def is_log(path: Path) -> bool:
    """Whether a file starts as a log does."""
    with path.open("rb") as file:
        return file.read(4) == HEADER[:4]


def read_log(path: Path) -> Log:
    """Read a run's log up to its end or to where it was cut; `ForescaleError` for a file that is no such log."""
    if path.stat().st_size > MOST_BYTES:
        raise ForescaleError(f"{path} is over {MOST_BYTES // 2**20} MB: sync the run and export it from W&B.")
    data = path.read_bytes()
    if not data.startswith(HEADER[:4]):
        raise ForescaleError(f"{path} is not the log of a W&B run: its first bytes are others.")
    log = Log()
    for record in _records(data):
        try:
            _take(log, _fields(record))
        except (IndexError, struct.error, UnicodeDecodeError):
            break  # what follows damage cannot be trusted
    return log


def _records(data: bytes) -> Iterator[bytes]:
    """Records put together from their fragments; the rest of a block too short for a frame is padding."""
    at, parts = len(HEADER), b""
    while at + FRAME <= len(data):
        left = BLOCK - at % BLOCK
        if left < FRAME:
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        body, at = data[at + FRAME : at + FRAME + length], at + FRAME + length
        if kind not in (FULL, FIRST, MIDDLE, LAST) or zlib.crc32(bytes([kind]) + body) != checksum:
            return
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            yield parts


def _fields(data: bytes) -> Fields:
    """The fields of a protobuf message."""
    found: Fields = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind] if kind in (1, 5) else len(data), at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise IndexError
        found.append((tag >> 3, value))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _take(log: Log, record: Fields) -> None:
    for number, value in record:
        if not isinstance(value, bytes):
            continue
        if number == RUN:
            _take_run(log, _fields(value))
        elif number == CONFIG:
            _update(log.config, value)
        elif number == SUMMARY:
            _update(log.summary, value)
        elif number == HISTORY:
            row: dict[str, Any] = {}
            _update(row, value)
            log.history.append(row)
            log.summary |= row
        elif number == EXIT:
            log.exit_code = next((v for n, v in _fields(value) if n == 1 and isinstance(v, int)), 0)


def _take_run(log: Log, run: Fields) -> None:
    for number, value in run:
        if number in (RUN_ID, DISPLAY_NAME) and (number == DISPLAY_NAME or not log.name):
            log.name = value.decode()
        elif number == RUN_CONFIG:
            _update(log.config, value)
        elif number == RUN_SUMMARY:
            _update(log.summary, value)


def _update(values: dict[str, Any], message: bytes) -> None:
    """Take the items of a message (its field 1) over; a nested key is a path."""
    for number, item in _fields(message):
        if number == 1 and isinstance(item, bytes):
            key, value = _item(_fields(item))
            place = values
            for part in key[:-1]:
                inner = as_dict(place.get(part))
                place[part] = inner
                place = inner
            if key:
                place[key[-1]] = value


def _item(fields: Fields) -> tuple[list[str], Any]:
    key: list[str] = []
    value: Any = None
    for number, raw in fields:
        if number in (KEY, NESTED_KEY):
            key.append(raw.decode())
        elif number in (JSON, VALUE_JSON):
            value = _parsed(raw.decode())
        elif number == NUMBER:
            value = struct.unpack("<d", raw)[0]
        elif number == INTEGER:
            value = (raw >> 1) ^ -(raw & 1)
        elif number == TEXT:
            value = raw.decode()
    return key, value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
