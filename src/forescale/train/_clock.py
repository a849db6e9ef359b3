"""How long a run has trained."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class Clock:
    """Seconds of training, those of earlier sessions included; it stands while something else is done."""

    def __init__(self) -> None:
        self.seconds = 0.0  # until it was last stopped
        self._began: float | None = None

    def start(self) -> None:
        """Run from now on."""
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Stand from now on."""
        self.seconds, self._began = self.now(), None

    def now(self) -> float:
        """Seconds until now."""
        return self.seconds + (0.0 if self._began is None else time.perf_counter() - self._began)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Time that is not training's; a clock that stands goes on standing."""
        running = self._began is not None
        self.stop()
        yield
        if running:
            self.start()
