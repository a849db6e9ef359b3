"""Schedules that warm up in a straight line and then follow one curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from forescale.errors import ForescaleError
from forescale.quantities import positive
from forescale.schedules._check import Schedule, share, warmup_share

TENTH = 0.1
ROUNDING = 1e-12  # by which warmup + decay may pass 1


def linear(warmup: float = 0.1, final: float = 0.0) -> Schedule:
    """Warmup, then a straight line to `final`, both shares of the run and of the peak.

    Raises `ForescaleError` for a warmup outside [0, 1) or a final factor outside [0, 1]; the schedule itself, as every
    schedule here, for progress outside [0, 1]. To 0 it is the best of those compared by Bergsma et al. 2025
    (Straight to Zero, arXiv:2502.15938), each at its own best learning rate.
    """
    return _to_final(warmup, final, lambda left: left)


def linear_to_zero(warmup: float = 0.1, final: float = 0.0) -> Schedule:
    """The default schedule: `linear`, down to zero unless told otherwise (Bergsma et al. 2025, arXiv:2502.15938)."""
    return linear(warmup, final)


def tenth(warmup: float = 0.1) -> Schedule:
    """The tenfold decay: warmup, then a straight line to 10 % of the peak."""
    return linear(warmup, TENTH)


def cosine(warmup: float = 0.1, final: float = 0.0) -> Schedule:
    """Warmup, then half a cosine to `final` (Loshchilov and Hutter 2017, arXiv:1608.03983, one cycle)."""
    return _to_final(warmup, final, lambda left: 0.5 - 0.5 * math.cos(math.pi * left))


def wsd(
    warmup: float = 0.1, decay: float = 0.2, shape: Literal["linear", "sqrt"] = "linear", final: float = 0.0
) -> Schedule:
    """Warmup, stable, decay: the peak, then over the last `decay` of the run down to `final`.

    With x the passed share of the decay the shape is 1 - x ("linear") or 1 - sqrt(x) ("sqrt"; Hägele et al. 2024,
    arXiv:2405.18392). Raises `ForescaleError` where warmup and decay do not fit into the run.
    """
    warmup, decay, final = warmup_share(warmup), share(decay, "decay"), share(final, "final")
    if not 0 < decay <= 1 - warmup + ROUNDING:
        raise ForescaleError(
            f"decay must be above 0 and fit beside the warmup; got decay {decay:g} and warmup {warmup:g}: "
            "together they are at most 1."
        )
    if shape not in ("linear", "sqrt"):
        raise ForescaleError(f"shape must be linear or sqrt; got {shape!r}.")

    def after(progress: float) -> float:
        if progress <= 1 - decay:  # exact where the division below is not
            return 1.0
        left = min((1 - progress) / decay, 1.0)
        return final + (1 - final) * (left if shape == "linear" else 1 - math.sqrt(1 - left))

    return warmed(warmup, after)


def constant(warmup: float = 0.1) -> Schedule:
    """Warmup, then the peak to the end."""
    return warmed(warmup, lambda _: 1.0)


def inverse_sqrt(warmup: float = 0.1, scale: float | None = None) -> Schedule:
    """Warmup w, then sqrt(s / (s + progress - w)); `scale` s is a share of the run.

    None takes the warmup as the scale, which is the original sqrt(w / progress) (Vaswani et al. 2017,
    arXiv:1706.03762); raises `ForescaleError` where that is zero.
    """
    warmup = warmup_share(warmup)
    if scale is None and warmup == 0:
        raise ForescaleError("an inverse square root without warmup has no scale of its own; got warmup 0: give scale.")
    length = warmup if scale is None else positive(scale, "scale")
    return warmed(warmup, lambda progress: math.sqrt(length / (length + progress - warmup)))


def warmed(warmup: float, after: Callable[[float], float]) -> Schedule:
    """A straight line from 0 to 1 over `warmup`, then `after`, a function of progress that starts at 1."""
    warmup = warmup_share(warmup)

    def schedule(progress: float) -> float:
        progress = share(progress, "progress")
        return progress / warmup if progress < warmup else after(progress)

    return schedule


def _to_final(warmup: float, final: float, shape: Callable[[float], float]) -> Schedule:
    warmup, final = warmup_share(warmup), share(final, "final")
    return warmed(warmup, lambda progress: final + (1 - final) * shape((1 - progress) / (1 - warmup)))
