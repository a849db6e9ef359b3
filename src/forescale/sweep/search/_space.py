"""Where a search may ask: an interval or a list of values for the learning rate and for the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.sweep.search._valleys import optima_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.sweep.search._posterior import Posterior
    from forescale.sweep.search._start import Start

    Array = NDArray[np.floating[Any]]

AXES = ("learning_rate", "batch_tokens")
REACH = 6.0  # octaves around the start's mean, where no box is given
LIKELY, ANYWHERE = 112, 40  # candidates near the likely optima, and spread over the box
JITTER = 0.15  # octaves
NARROW = 1e-9  # octaves: settings that differ by less are the same


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From `low` to `high`, or the ascending `values` alone."""

    low: float
    high: float
    values: tuple[float, ...] = ()


def axis(name: str, low: float, high: float) -> Axis:
    """A checked interval; its ends may be equal, for a value that is given."""
    if not 0 < low <= high < math.inf:
        raise ForescaleError(f"the box of {name} must be two finite numbers 0 < low <= high; got {low:g} and {high:g}.")
    return Axis(low=float(low), high=float(high))


def axis_of_values(name: str, values: Sequence[Any]) -> Axis:
    """A list of values to choose from."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf]
    if not numbers or len(numbers) < len(values):
        raise ForescaleError(f"the values of {name} must be finite numbers above 0; got {list(values)!r}.")
    ascending = tuple(sorted({float(v) for v in numbers}))
    return Axis(low=ascending[0], high=ascending[-1], values=ascending)


def space_of(start: Start, box: Mapping[str, tuple[float, float]] | None) -> tuple[Axis, Axis]:
    """The box's axes; `REACH` octaves around the start where it has none."""
    box = box or {}
    if unknown := set(box) - set(AXES):
        raise ForescaleError(f"a box has {' and '.join(AXES)}; got {', '.join(sorted(unknown))}.")
    middle = dict(zip(AXES, start.mean.tolist(), strict=True))
    around = math.log(2) * REACH
    wide = {name: (math.exp(at - around), math.exp(at + around)) for name, at in middle.items()}
    rate, batch = (axis(name, *box.get(name, wide[name])) for name in AXES)
    return rate, batch


def candidates(space: Sequence[Axis], found: Posterior) -> Array:
    """(m, 2) settings that may be asked for, in octaves from the start: new ones, as long as there are any."""
    import numpy as np

    start, rng = found.start, found.rng
    ends = ends_of(space, start)
    some = rng.permutation(len(found.valleys))[:LIKELY]
    near = optima_in(found.valleys[some], ends, start.shape)
    near = near + JITTER * rng.standard_normal(near.shape)
    spread = ends[0] + rng.random((ANYWHERE, 2)) * (ends[1] - ends[0])
    points = np.clip(np.concatenate([near, spread]), *ends)
    for i, values in enumerate(a.values for a in space):
        if values:
            points[:, i] = _snap(points[:, i], start.octaves(np.log([[v, v] for v in values]))[:, i])
    points = np.unique(points, axis=0)
    new = _apart(points, found.seen.every)
    return points[new] if new.any() else points


def ends_of(space: Sequence[Axis], start: Start) -> Array:
    """The box's lowest and highest corner, in octaves from the start."""
    import numpy as np

    return start.octaves(np.log([[a.low for a in space], [a.high for a in space]]))


def setting(start: Start, space: Sequence[Axis], point: Array) -> tuple[float, float]:
    """Learning rate and batch of a point, exactly in the space."""
    import numpy as np

    rate, batch = (_exact(a, v) for a, v in zip(space, np.exp(start.logs(point)).tolist(), strict=True))
    return rate, batch


def _exact(along: Axis, value: float) -> float:
    if along.values:
        return min(along.values, key=lambda v: abs(math.log(v / value)))
    return min(max(value, along.low), along.high)


def _snap(points: Array, values: Array) -> Array:
    import numpy as np

    return values[np.abs(points[:, None] - values).argmin(1)]


def _apart(points: Array, others: Array) -> NDArray[np.bool_]:
    import numpy as np

    return (np.abs(points[:, None] - others).max(-1) > NARROW).all(1)
