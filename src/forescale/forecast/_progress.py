"""What a person sees of training: a bar on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Bar:
    """Steps, training and validation loss, on standard error; `shown` None: where that is a terminal."""

    def __init__(self, steps: int, *, shown: bool | None = None) -> None:
        self._steps = steps
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._bar: Any = None

    def __enter__(self) -> Bar:
        if self._shown:
            from rich import progress
            from rich.console import Console

            columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TextColumn("{task.fields[told]}"),
                       progress.TimeRemainingColumn())  # fmt: skip
            self._bar = progress.Progress(*columns, console=Console(file=sys.stderr), transient=False)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._steps, told="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def moved(self, step: int) -> None:
        """After every step."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def told(self, step: int, loss: float, validation: float) -> None:
        """After every check."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, told=f"loss {loss:.3f}, held out {validation:.3f}")
