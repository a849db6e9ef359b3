"""What a trainer prints, as it comes: kept in a log, and read for its losses."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from forescale.sweep.command._loss import as_loss
from forescale.train._files import why
from forescale.train._folder import METRICS
from forescale.train._metrics import Metrics

LOG = "log.txt"
LAST = 15  # lines that are shown of a run that failed
LONGEST = 1 << 16  # characters of a line that are looked at
ENDS = re.compile(rb"[\r\n]")  # a progress bar starts its line anew


class Output:
    """The log of a run and what was read in it: the last loss, the curve, the last lines."""

    def __init__(self, folder: Path, loss: re.Pattern[str] | None, curve: re.Pattern[str] | None) -> None:
        self.loss: float | None = None
        self.lines: deque[str] = deque(maxlen=LAST)
        self.curve = None if curve is None else Curve(folder / METRICS, curve)
        self.problem = ""  # why the log is not whole
        self._loss, self._path, self._rest = loss, folder / LOG, b""
        self._log: IO[bytes] | None = None

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        curve = self.curve is not None and not math.isfinite(self.curve.loss)
        return curve or (self.loss is not None and not math.isfinite(self.loss))

    def feed(self, chunk: bytes) -> None:
        """Take what was printed; half a line waits for its end."""
        self._write(chunk)
        *lines, self._rest = ENDS.split(self._rest + chunk)
        self._rest = self._rest[-LONGEST:]
        for line in lines:
            self._read(line)

    def close(self) -> None:
        """Take the last line, which may lack its end."""
        self._read(self._rest)
        self._rest = b""
        if self._log is not None:
            with suppress(OSError):
                self._log.close()

    def _read(self, line: bytes) -> None:
        text = line[-LONGEST:].decode("utf-8", "replace").rstrip()
        if not text.strip():
            return
        self.lines.append(text)
        if self._loss is not None and (found := list(self._loss.finditer(text))):
            self.loss = as_loss(found[-1][1]) if as_loss(found[-1][1]) is not None else self.loss
        if self.curve is not None:
            self.curve.read(text)

    def _write(self, chunk: bytes) -> None:
        """A log that cannot be written ends no run: what is missing there is said."""
        try:
            if self._log is None:
                self._log = self._path.open("ab", buffering=0)
            self._log.write(chunk)
        except OSError as error:
            self.problem = self.problem or f"{LOG} is not whole: {why(error)}"


class Curve:
    """Steps and losses of a run, a line of metrics.jsonl each, every step once."""

    def __init__(self, path: Path, pattern: re.Pattern[str]) -> None:
        self.loss, self.step = 0.0, -1
        self._path, self._pattern = path, pattern
        self._metrics: Metrics | None = None

    def read(self, line: str) -> None:
        """Take the step and the loss of a line that has them."""
        if (found := self._pattern.search(line)) is None:
            return
        step, loss = as_loss(found[1]), as_loss(found[2])
        if step is None or loss is None or not math.isfinite(step):
            return
        self.loss = loss
        with suppress(OSError):  # a full disk: racing sees less, the run goes on
            self._add({"step": int(step), "loss": loss})

    def _add(self, record: Mapping[str, Any]) -> None:
        """A run that starts again takes back what an earlier attempt wrote from there on."""
        if self._metrics is None or record["step"] <= self.step:
            self._metrics = Metrics(self._path, int(record["step"]) - 1)
        self.step = int(record["step"])
        self._metrics.write([dict(record)])
