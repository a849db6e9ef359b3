"""What a transfer check found: loss over learning rate at every size, the minima, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from forescale.check._minimum import Minimum, find_minimum, loss_at
from forescale.check._slopes import finite

TOLERANCE = 0.5  # octaves of learning rate
COST = 0.25  # per cent of loss: a drift that costs less is one along a flat valley


@dataclass(frozen=True, kw_only=True)
class Point:
    """One training run: its final held-out loss, infinite where it diverged."""

    size: float
    learning_rate: float  # of the recipe, before the parametrization's factors
    seed: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class TransferCheck:
    """The answer of `check_transfer`; the first size is the base."""

    scheme: str
    axis: str
    fixed: Mapping[str, float]
    steps: int
    tokens: int  # a run
    seeds: int
    points: tuple[Point, ...]
    minima: tuple[Minimum, ...]
    tolerance: float = TOLERANCE
    cost: float = COST

    @property
    def drift(self) -> float:
        """Octaves from the base's best learning rate to that of the size where it lies farthest; signed."""
        return max((m.drift for m in self.minima), key=abs)

    @property
    def loss_gap_percent(self) -> float:
        """The most that keeping the base's best learning rate costs at another size, in per cent of loss."""
        return max(m.base_rate_loss_gap_percent for m in self.minima)

    @property
    def verdict(self) -> str:
        """pass: the minima stay. fail: one drifts and that costs. undecided: beyond the grid, or along a flat valley."""
        if abs(self.drift) <= self.tolerance and not any(m.edge for m in self.minima):
            return "pass"
        if abs(self.drift) > self.tolerance and self.loss_gap_percent > self.cost:
            return "fail"
        return "undecided"

    @property
    def says(self) -> str:
        """The verdict as a sentence."""
        sizes = [m.size for m in self.minima]
        words = {"pass": "transfers", "fail": "drifts", "undecided": "is not decided by these runs"}
        edge = " (a minimum lies at an end of the grid)" if any(m.edge for m in self.minima) else ""
        return (
            f"{self.scheme}: the best learning rate {words[self.verdict]} over {self.axis} {sizes[0]:g} to {sizes[-1]:g}: "
            f"drift {self.drift:+.2f} octaves, the base's rate costs up to {self.loss_gap_percent:.2f} % of loss{edge}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; what is not finite is null."""
        found = {"drift": self.drift, "loss_gap_percent": self.loss_gap_percent}
        return finite({"check": "transfer", "verdict": self.verdict, "says": self.says, **found, **asdict(self)})


def losses_by_rate(points: Sequence[Point], size: float) -> dict[float, list[float]]:
    """Learning rate -> losses of one size, in the order of the seeds."""
    found: dict[float, list[float]] = {}
    for point in sorted(points, key=lambda p: (p.learning_rate, p.seed)):
        if point.size == size:
            found.setdefault(point.learning_rate, []).append(point.loss)
    return found


def find_minima(points: Sequence[Point], sizes: Sequence[float]) -> tuple[Minimum, ...]:
    """The minimum of every size, with its drift from the first and what the first's rate costs there."""
    import math

    base = find_minimum(sizes[0], losses_by_rate(points, sizes[0]))
    minima: list[Minimum] = []
    for size in sizes:
        losses = losses_by_rate(points, size)
        own = find_minimum(size, losses)
        gap = max(0.0, 100 * (loss_at(base.learning_rate, losses) / own.loss - 1))
        drift = math.log2(own.learning_rate / base.learning_rate)
        minima.append(replace(own, drift=drift, base_rate_loss_gap_percent=gap))
    return tuple(minima)
