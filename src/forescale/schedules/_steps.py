"""From progress to steps: which step uses which factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.schedules._check import Schedule, factor, step_count, step_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def factor_at(schedule: Schedule, step: int, steps: int) -> float:
    """The factor of one step, counted from 0: the larger of those at progress step / steps and (step + 1) / steps.

    Raises `ForescaleError` for a step that is not of the run, or a factor that is negative or not finite.
    """
    step, steps = step_index(step), step_count(steps)
    if step >= steps:
        raise ForescaleError(f"a run of {steps} steps has steps 0 to {steps - 1}; got step {step}.")
    return max(factor(schedule, step / steps), factor(schedule, (step + 1) / steps))


def factors(schedule: Schedule, steps: int) -> NDArray[np.float64]:
    """The factors of all steps, an array of length `steps`: `factor_at` of each."""
    import numpy as np

    steps = step_count(steps)
    return over(schedule, np.arange(steps + 1) / steps)


def over(schedule: Schedule, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The larger factor of the two ends of each interval between progress `edges`, one fewer than these."""
    import numpy as np

    ends = np.array([factor(schedule, progress) for progress in edges.tolist()])
    return np.maximum(ends[:-1], ends[1:])
