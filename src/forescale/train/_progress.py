"""What a person sees while a run goes on: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

from forescale.quantities import humanize, humanize_duration

BAR_EVERY, LINE_EVERY = 0.25, 10.0  # seconds
RECENT = 20  # steps that the shown loss is the mean of


class Progress:
    """Loss, speed, time left and share of the device's measured peak, on standard error."""

    def __init__(
        self, *, start: int, steps: int, batch_tokens: int, flops_per_token: float, peak: float | None
    ) -> None:
        self.start, self.steps, self.batch_tokens = start, steps, batch_tokens
        self.flops_per_token, self.peak = flops_per_token, peak
        self._stream: IO[str] = sys.stderr
        self._bar: Any = self._make_bar() if self._stream.isatty() else None
        self._every = BAR_EVERY if self._bar else LINE_EVERY
        self._next = time.monotonic() + (0.0 if self._bar else LINE_EVERY / 5)

    @property
    def due(self) -> bool:
        """Whether something should be shown again."""
        return time.monotonic() >= self._next

    def show(self, taken: int, losses: list[float], seconds: float) -> None:
        """Show the state after `taken` steps and `seconds` of training, those of earlier sessions included."""
        self._next = time.monotonic() + self._every
        text = self.text(taken, losses, seconds)
        if self._bar is not None:
            self._bar.update(self._task, completed=taken, told=text)
        else:
            print(f"step {taken}/{self.steps}  {text}", file=self._stream, flush=True)

    def text(self, taken: int, losses: list[float], seconds: float) -> str:
        """`loss 3.21  12.3K tokens/s  ETA 3 min  MFU 34 %`."""
        recent = losses[-RECENT:]
        speed = taken * self.batch_tokens / max(seconds, 1e-9)
        parts = [f"loss {sum(recent) / len(recent):.4f}"] if recent else []
        parts.append(f"{humanize(speed)} tokens/s")
        if speed:
            parts.append(f"ETA {humanize_duration((self.steps - taken) * self.batch_tokens / speed)}")
        if self.peak:
            parts.append(f"MFU {speed * self.flops_per_token / self.peak:.0%}")
        return "  ".join(parts)

    def say(self, sentence: str) -> None:
        """Print a sentence without tearing the bar."""
        if self._bar is not None:
            self._bar.console.print(f"forescale: {sentence}", highlight=False, markup=False)
        else:
            print(f"forescale: {sentence}", file=self._stream, flush=True)

    def close(self) -> None:
        """Take the bar down."""
        if self._bar is not None:
            self._bar.stop()

    def _make_bar(self) -> Any:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.BarColumn(),
            progress.TextColumn("{task.completed}/{task.total}"),
            progress.TextColumn("{task.fields[told]}"),
        )
        bar = progress.Progress(*columns, console=Console(file=self._stream), refresh_per_second=4)
        bar.start()
        self._task = bar.add_task("", total=self.steps, completed=self.start, told="")
        return bar
