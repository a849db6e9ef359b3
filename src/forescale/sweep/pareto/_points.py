"""Points of two objectives, which of them no other one beats, and how much they beat together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.workload import Shape

BEYOND = 0.1  # of the front's own extent: how far the reference point is from its ends


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The second objective: what its numbers are, and whether more of it is better."""

    name: str
    unit: str = ""
    higher_is_better: bool = False

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """As Optuna says it."""
        return "maximize" if self.higher_is_better else "minimize"

    def cost(self, value: float) -> float:
        """The value where less is better: its negative where more is."""
        return -value if self.higher_is_better else value

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


STEP_SECONDS = Metric(name="step time", unit="s")
STEP_MEMORY = Metric(name="peak memory of a step", unit="bytes")
DECODING_SPEED = Metric(name="decoding speed", unit="tokens/s", higher_is_better=True)
FLOPS_PER_TOKEN = Metric(name="inference compute", unit="FLOPs per token")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting and what came of it: `loss` in nats per token, infinite where it diverged; `value` of the second metric."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    loss: float
    value: float
    loss_sd: float | None = None  # of ln loss; None: the noise that all points share
    value_sd: float = 0.0  # in the metric's unit
    loss_gap: float = 0.0  # to expect to the same setting's loss at its best learning rate and batch, a share

    def __post_init__(self) -> None:
        for name in ("loss_sd", "value_sd", "loss_gap"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < math.inf:
                raise ForescaleError(f"{name} of a point must be finite and not below 0; got {number}: correct it.")

    @property
    def measured(self) -> bool:
        """Whether both numbers are there: a run that diverged is on no front."""
        return math.isfinite(self.loss) and math.isfinite(self.value)


def front(points: Iterable[Point], metric: Metric) -> tuple[Point, ...]:
    """The points that no other one beats, from the lowest loss to the best value.

    One point beats another that it is nowhere worse than and somewhere better. So points that are equal in both beat one
    another nowhere, and are all there; those with a number that is not finite are not.
    """
    order = sorted((p for p in points if p.measured), key=lambda p: (metric.cost(p.value), p.loss))
    kept: list[Point] = []
    for point in order:
        if not kept or point.loss < kept[-1].loss or _same(point, kept[-1]):
            kept.append(point)
    return tuple(reversed(kept))


def _same(a: Point, b: Point) -> bool:
    return (a.loss, a.value) == (b.loss, b.value)


def hypervolume(points: Iterable[Point], metric: Metric, reference: tuple[float, float]) -> float:
    """The area that the points beat within `reference` (loss, value), in nats per token times the metric's unit.

    Exact: a sum of rectangles. Points that are worse than the reference in either objective count for nothing, so compare
    areas only under one reference.
    """
    loss, worst = reference[0], metric.cost(reference[1])
    if not (math.isfinite(loss) and math.isfinite(worst)):
        raise ForescaleError(f"a reference point must be two finite numbers, loss and value; got {reference}.")
    inside = [p for p in points if p.measured and p.loss < loss and metric.cost(p.value) < worst]
    area = 0.0
    for point in reversed(front(inside, metric)):  # from the best value on: each adds what lies below the loss so far
        area += (loss - point.loss) * (worst - metric.cost(point.value))
        loss = point.loss
    return area


def reference_point(points: Sequence[Point], metric: Metric) -> tuple[float, float]:
    """Loss and value a tenth of the front's extent worse than its worst ones; of the numbers where it has no extent.

    In logarithms where all are above 0, so that no time or speed falls below. The two ends of a front then count about as
    much as its middle (Ishibuchi et al. 2018). It moves with the front: to compare fronts, name one of your own.
    """
    found = front(points, metric)
    if not found:
        raise ForescaleError(f"a front needs a point with a finite loss and {metric.name}; got none of {len(points)}.")
    loss = _beyond([p.loss for p in found], higher_is_better=False)
    return loss, _beyond([p.value for p in found], higher_is_better=metric.higher_is_better)


def _beyond(values: Sequence[float], *, higher_is_better: bool) -> float:
    low, high = min(values), max(values)
    worst, sign = (low, -1) if higher_is_better else (high, 1)
    if low > 0:
        return worst * (high / low if high > low else math.e) ** (sign * BEYOND)
    return worst + sign * BEYOND * ((high - low) or abs(worst) or 1.0)


def flops_per_token(shape: Shape, context: int = 0) -> float:
    """Forward FLOPs of one token after `context` others: 2 x (active parameters + the output matrix) + 4 L d context."""
    attention = 4 * shape.layers * shape.attention_width * context
    return 2.0 * (shape.active_params + shape.vocab * shape.width) + attention
