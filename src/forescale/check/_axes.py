"""The size that a check looks along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forescale.errors import ForescaleError

AXES = ("width", "depth", "density")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One of width, depth and density with its sizes, and what the other two are; the first size is the base."""

    name: str
    sizes: tuple[float, ...]
    fixed: Mapping[str, float]
    base_width: int
    base_depth: int

    def at(self, size: float) -> tuple[int, int, float]:
        """Width, depth and density of the model of that size."""
        known = {**self.fixed, self.name: size}
        return int(known["width"]), int(known["depth"]), known["density"]


def look_along(widths: Sequence[int], depths: Sequence[int], densities: Sequence[float]) -> Axis:
    """The axis that has several sizes; the others are fixed."""
    given: dict[str, Sequence[float]] = dict(zip(AXES, (widths, depths, densities), strict=True))
    several = [name for name, of in given.items() if len(of) > 1]
    if len(several) != 1 or not all(given.values()):
        raise ForescaleError(
            f"a check looks along one of {', '.join(AXES)}, the others fixed; got {len(widths)} widths, "
            f"{len(depths)} depths and {len(densities)} densities: give several of one and one of the others."
        )
    name = several[0]
    sizes = given[name]
    if any(size <= 0 for size in sizes) or len(set(sizes)) < len(sizes):
        raise ForescaleError(f"the sizes of a check must be above 0 and different; got {', '.join(map(str, sizes))}.")
    fixed = {other: float(of[0]) for other, of in given.items() if other != name}
    return Axis(name=name, sizes=tuple(map(float, sizes)), fixed=fixed, base_width=widths[0], base_depth=depths[0])


def check_counts(steps: int, seeds: int) -> None:
    """Raise `ForescaleError` for fewer than one step or seed."""
    if steps < 1 or seeds < 1:
        raise ForescaleError(f"a check takes 1 step and 1 seed or more; got {steps} steps and {seeds} seeds.")


def called(scheme: object) -> str:
    """What a check calls the rules that it was given."""
    return scheme if isinstance(scheme, str) else "your own rules"
