"""What a schedule is, and what its arguments must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import as_float

Schedule = Callable[[float], float]
"""Progress in [0, 1] -> factor on the peak, at least 0: any such function is a schedule."""


def share(value: float, name: str) -> float:
    """`value` as a float in [0, 1]; raise `ForescaleError` naming `name` for anything else."""
    number = as_float(value, name)
    if not 0 <= number <= 1:
        raise ForescaleError(f"{name} must lie between 0 and 1; got {number:g}: give it as a share.")
    return number


def warmup_share(value: float) -> float:
    """The warmup as a share of the run, in [0, 1)."""
    number = as_float(value, "warmup")
    if not 0 <= number < 1:
        raise ForescaleError(
            f"warmup is a share of the run, at least 0 and below 1; got {number:g}: divide steps by the run's steps."
        )
    return number


def factor(schedule: Schedule, progress: float) -> float:
    """The schedule's factor, checked: a schedule may be a function of the user's own."""
    value = float(schedule(progress))
    if not 0 <= value < math.inf:
        raise ForescaleError(
            f"a schedule's factor must be finite and at least 0; got {value:g} at progress {progress:g}."
        )
    return value


def step_count(steps: int, name: str = "steps") -> int:
    """The optimizer steps of a run, a whole number above zero, as an int."""
    try:
        number = 0 if isinstance(steps, bool) else index(steps)
    except TypeError:
        number = 0
    if number < 1:
        raise ForescaleError(f"{name} must be a whole number above zero; got {steps!r}.")
    return number


def step_index(step: Any) -> int:
    """A step from 0, as an int."""
    try:
        number = -1 if isinstance(step, bool) else index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ForescaleError(f"a step must be a whole number from 0; got {step!r}.")
    return number
