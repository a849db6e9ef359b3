"""The losses of a run, and when it was measured on held-out text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor


class History:
    """Losses and gradient norms from step `start` on, fetched from the device a few at a time."""

    def __init__(self, start: int, every: int) -> None:
        self.start, self.every = start, every
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.held_out: dict[int, float] = {}  # steps taken -> loss
        self.noise: dict[int, dict[str, float]] = {}  # steps taken -> what a meter says
        self._pending: list[tuple[Tensor | float, Tensor | float]] = []

    @property
    def due(self) -> bool:
        """Whether it is time to fetch."""
        return len(self._pending) >= self.every

    def add(self, loss: Tensor | float, norm: Tensor | float) -> None:
        """Take note of a step without waiting for its numbers."""
        self._pending.append((loss, norm))

    def fetch(self) -> int | None:
        """Wait for the numbers; the first step, counted from 1, with one that is not finite, None where all are."""
        bad = None
        for loss, norm in self._pending:
            self.losses.append(float(loss))
            self.norms.append(float(norm))
            if bad is None and not (math.isfinite(self.losses[-1]) and math.isfinite(self.norms[-1])):
                bad = self.start + len(self.losses)
        self._pending.clear()
        return bad

    def records(
        self, first: int, last: int, batch_tokens: int, rate: Callable[[int], float]
    ) -> Iterator[dict[str, Any]]:
        """The lines of steps `first` + 1 to `last`."""
        for taken in range(first + 1, last + 1):
            at = taken - self.start - 1
            record = {"step": taken, "tokens": taken * batch_tokens, "loss": self.losses[at]}
            record |= {"learning_rate": rate(taken - 1), "grad_norm": self.norms[at]}
            record |= {"held_out_loss": self.held_out[taken]} if taken in self.held_out else {}
            yield record | self.noise.get(taken, {})


def mean_of_last(losses: Sequence[float], share: float = 0.05) -> float:
    """The mean of the last share of a curve, infinite where there is none."""
    last = losses[-max(1, round(share * len(losses))) :]
    return sum(last) / len(last) if last else math.inf
