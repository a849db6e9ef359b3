"""Learning rate schedules: pure functions from an optimizer step to a factor on the peak learning rate.

Steps count from 0. A run of S steps with W warmup steps uses the factor (i + 1) / W while i < W, so the first step
learns, and then falls from 1 at i = W to one last positive value at i = S - 1; the final ratio itself would be reached
at i = S, a step that is not taken, so the last step learns too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from forescale.errors import ForescaleError

Schedule = Callable[[int, int, int, float], float]


def linear(step: int, steps: int, warmup_steps: int, final_lr_ratio: float = 0.0) -> float:
    """Linear warmup, then a straight line to `final_lr_ratio` (0: linear-to-zero, Bergsma et al. 2025, 2502.15938)."""
    return _with_warmup(step, steps, warmup_steps, final_lr_ratio, lambda left: left)


def cosine(step: int, steps: int, warmup_steps: int, final_lr_ratio: float = 0.0) -> float:
    """Linear warmup, then half a cosine to `final_lr_ratio`."""
    return _with_warmup(step, steps, warmup_steps, final_lr_ratio, lambda left: 0.5 - 0.5 * math.cos(math.pi * left))


SCHEDULES: dict[str, Schedule] = {"linear": linear, "cosine": cosine}


def _with_warmup(
    step: int, steps: int, warmup_steps: int, final_lr_ratio: float, shape: Callable[[float], float]
) -> float:
    if not 0 <= step < steps or not 0 <= warmup_steps < steps:
        raise ForescaleError(
            f"a schedule needs 0 <= step < steps and 0 <= warmup_steps < steps; got step {step}, steps {steps}, "
            f"warmup_steps {warmup_steps}."
        )
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    left = (steps - step) / (steps - warmup_steps)
    return final_lr_ratio + (1 - final_lr_ratio) * shape(left)
