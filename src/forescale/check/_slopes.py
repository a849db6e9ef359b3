"""What a coordinate check found: sizes of activations over a model size, their slopes, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Octaves of |x| an octave of the axis. What a scheme gets wrong by a power of the size moves activations by one or two powers
# within ten steps; what is right moved by at most 0.1 at widths 64 to 512 and by 0.2 at depths 2 to 32.
LIMIT = 0.25
# Where what is drawn falls with a size by 1/2, and training has not yet made up for it; a power too many is 1.
FALL = 0.75
NOISE = 0.5  # octaves of |x| over the whole range: what two seeds of a small model differ by


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean |x| of one kind of activation, a row a step (0: before any) and a column a size; the mean over the seeds."""

    kind: str
    values: tuple[tuple[float, ...], ...]
    slopes: tuple[float, ...]  # of log |x| over log size, a step each
    slope: float  # the one that is judged
    verdict: str  # flat, grows, shrinks, diverges


@dataclass(frozen=True, kw_only=True)
class CoordCheck:
    """The answer of `check_coords`."""

    scheme: str
    axis: str  # width, depth or density
    sizes: tuple[float, ...]
    fixed: Mapping[str, float]  # the other two
    steps: int
    seeds: int
    learning_rate: float
    curves: tuple[Curve, ...]
    decays: tuple[Curve, ...]  # learning rate times weight decay a step, by role: it should not move with the size
    limit: float = LIMIT

    @property
    def verdict(self) -> str:
        """Pass where every curve is flat, else fail."""
        return "pass" if all(c.verdict == "flat" for c in (*self.curves, *self.decays)) else "fail"

    @property
    def says(self) -> str:
        """The verdict as a sentence."""
        off = [c for c in (*self.curves, *self.decays) if c.verdict != "flat"]
        if not off:
            return f"{self.scheme}: activations after {self.steps} steps do not move with the {self.axis}."
        found = ", ".join(f"{c.kind} {c.verdict} ({self.axis}^{c.slope:+.2f})" for c in off)
        return f"{self.scheme}: not right over the {self.axis}: after {self.steps} steps {found}."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; what is not finite is null."""
        document = {"check": "coords", "verdict": self.verdict, "says": self.says, **asdict(self)}
        return finite(document)


def make_curve(
    kind: str, sizes: Sequence[float], values: Sequence[Sequence[float]], limit: float, *, fall: float | None = None
) -> Curve:
    """Slopes of every step, and the verdict on the last; of the embedding, on the steepest.

    What a parametrization promises is sizes in the course of training, not at the start: there logits of a wide muP model
    are small, and under CompleteP at alpha = 1 what branches add as drawn falls as depth^-1/2, the longer the larger initial
    values are: a `fall` of its own. An embedding has no such excuse.
    """
    slopes = tuple(log_slope(sizes, row) for row in values)
    judged = max(slopes, key=abs) if kind == "embedding" else slopes[-1]
    least = max(limit, NOISE / math.log2(max(sizes) / min(sizes)))
    steep = "grows" if judged > least else "shrinks" if judged < -max(least, fall or 0) else "flat"
    verdict = steep if all(map(math.isfinite, slopes)) else "diverges"
    return Curve(kind=kind, values=tuple(map(tuple, values)), slopes=slopes, slope=judged, verdict=verdict)


def log_slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The least squares slope of log values over log sizes; nan where a value is not finite, 0 where all are 0."""
    if all(value == 0 for value in values):
        return 0.0
    if not all(math.isfinite(value) and value > 0 for value in values):
        return math.nan
    x, y = [math.log(s) for s in sizes], [math.log(v) for v in values]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def finite(value: Any) -> Any:
    """The same with None for floats that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value
