"""The size that a check looks along."""

from __future__ import annotations

from collections.abc import Sequence

from forescale.errors import ForescaleError

AXES = ("width", "depth", "density")


def look_along(widths: Sequence[int], depths: Sequence[int], densities: Sequence[float]) -> tuple[str, Sequence[float]]:
    """Which of the three has several sizes, and which; the others are fixed."""
    several = [(name, of) for name, of in zip(AXES, (widths, depths, densities), strict=True) if len(of) > 1]
    if len(several) != 1 or any(not of for of in (widths, depths, densities)):
        raise ForescaleError(
            f"a check looks along one of {', '.join(AXES)}, the others fixed; got {len(widths)} widths, "
            f"{len(depths)} depths and {len(densities)} densities: give several of one and one of the others."
        )
    name, sizes = several[0]
    if any(size <= 0 for size in sizes) or len(set(sizes)) < len(sizes):
        raise ForescaleError(f"the sizes of a check must be above 0 and different; got {', '.join(map(str, sizes))}.")
    return name, sizes


def check_counts(steps: int, seeds: int) -> None:
    """Raise `ForescaleError` for fewer than one step or seed."""
    if steps < 1 or seeds < 1:
        raise ForescaleError(f"a check takes 1 step and 1 seed or more; got {steps} steps and {seeds} seeds.")
