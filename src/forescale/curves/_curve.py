"""A loss curve with its schedule, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

FEWEST = 8  # measured losses of a curve


@dataclass(frozen=True, eq=False, init=False)
class Curve:
    """A run's loss beside its learning rate: three sequences of one length, sorted by step.

    `step` counts optimizer steps; `loss` is in nats per token, NaN where a step was not measured (the schedule counts all
    the same); `learning_rate` is the scheduler's. Where the first step is later than 1, the rate is taken to have risen in a
    straight line from 0 up to there. Raises `ForescaleError` for anything else, and for fewer than 8 measured losses.
    """

    step: Array
    loss: Array
    learning_rate: Array
    name: str = ""
    note: str = ""  # what a reader did to it

    def __init__(
        self, step: ArrayLike, loss: ArrayLike, learning_rate: ArrayLike | None, name: str = "", note: str = ""
    ) -> None:
        import numpy as np

        called = f"the curve {name}" if name else "a curve"
        if learning_rate is None:
            raise ForescaleError(
                f"{called} needs the learning rate of each step; got None: read it from the log's scheduler."
            )
        steps, rates = checked_schedule(step, learning_rate, called)
        losses = as_row(loss, "loss", called)
        if len(losses) != len(steps):
            raise ForescaleError(f"{called} needs one loss a step; got {len(losses)} losses of {len(steps)} steps.")
        if np.isinf(losses).any() or (losses <= 0).any():
            raise ForescaleError(
                f"{called} needs losses above zero, or NaN where not measured; got inf or less: cut it there."
            )
        if (measured := int(np.isfinite(losses).sum())) < FEWEST:
            raise ForescaleError(f"{called} needs at least {FEWEST} measured losses; got {measured}.")
        for field, value in (("step", steps), ("loss", losses), ("learning_rate", rates)):
            value.setflags(write=False)
            object.__setattr__(self, field, value)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "note", note)

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        return float(self.learning_rate.max())

    @property
    def final_loss(self) -> float:
        """The mean of the last 3 measured losses."""
        import numpy as np

        return float(self.loss[np.isfinite(self.loss)][-3:].mean())


def checked_schedule(step: ArrayLike, learning_rate: ArrayLike, called: str) -> tuple[Array, Array]:
    """Steps that rise from 0 or later and rates that are finite, not negative and not all 0, as arrays of one length."""
    import numpy as np

    steps, rates = as_row(step, "step", called), as_row(learning_rate, "learning_rate", called)
    if len(steps) != len(rates):
        raise ForescaleError(f"{called} needs one learning rate a step; got {len(rates)} rates of {len(steps)} steps.")
    if not len(steps) or not np.isfinite(steps).all() or steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise ForescaleError(
            f"the steps of {called} must be finite and rise from 0 or later, each once; got {_unsorted(steps)}: sort them, "
            "and of a log that went back to a checkpoint keep each step's last record."
        )
    if not np.isfinite(rates).all() or (rates < 0).any() or not rates.any():
        raise ForescaleError(
            f"the learning rates of {called} must be finite, at least 0 and not all 0; got {_shown(rates)}."
        )
    return steps, rates


def as_row(values: ArrayLike, name: str, called: str) -> Array:
    """A copy as a one-dimensional array of floats."""
    import numpy as np

    try:
        row = np.array(values, float)
    except (TypeError, ValueError):
        raise ForescaleError(f"{name} of {called} must be numbers; got {type(values).__name__}.") from None
    if row.ndim != 1:
        raise ForescaleError(f"{name} of {called} must be one sequence of numbers; got {row.ndim} dimensions.")
    return row


def _unsorted(steps: Array) -> str:
    """The first two steps that do not rise, or all."""
    import numpy as np

    back = np.flatnonzero(np.diff(steps) <= 0)
    return f"{steps[back[0] + 1]:g} after {steps[back[0]]:g}" if len(back) else _shown(steps)


def _shown(values: Sequence[float] | Array) -> str:
    if len(values) > 4:
        return f"{values[0]:g}, {values[1]:g}, … {values[-1]:g}"
    return ", ".join(f"{value:g}" for value in values) or "none"
