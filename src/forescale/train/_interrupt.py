"""Ctrl-C and SIGTERM end a run between two steps, so that it can be resumed; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunInterruptedError(KeyboardInterrupt):
    """A run that was asked to stop, and stopped with its state on disk; the message says how to go on."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interrupt:
    """Whether somebody asked the run to stop, and by which signal."""

    number = 0

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.number != 0


@contextmanager
def interruptible(wanted: bool) -> Generator[Interrupt]:
    """Note the first signal and restore the usual handlers for the next; nothing outside the main thread."""
    interrupt = Interrupt()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _frame: Any) -> None:
        interrupt.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
