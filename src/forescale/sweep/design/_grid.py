"""A grid: every combination of the values of its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from forescale.errors import ForescaleError
from forescale.sweep.design._common import Common
from forescale.sweep.design._design import MOST_RUNS, Design, make_design
from forescale.sweep.design._make import Octaves


def octaves(span: float | Sequence[float], *, step: float = 1.0, around: float | None = None) -> tuple[Octaves, ...]:
    """Values in log2 steps around the plan's for each run, or around one value.

    `span` 2 is two octaves to both sides, `step` octaves apart; a sequence lists the offsets. Octaves of the batch are taken
    first: around the plan, learning rates follow the batch, and weight decay follows both at one averaging timescale.
    """
    if not isinstance(span, int | float):
        return tuple(Octaves(octaves=float(offset), around=around) for offset in span)
    if not 0 < step <= span <= 20:
        raise ForescaleError(
            f"octaves go to both sides, 20 at most, in steps that fit; got {span:g} in steps of {step:g}."
        )
    count = int(span / step + 1e-9)
    return tuple(Octaves(octaves=k * step, around=around) for k in range(-count, count + 1))


def grid(common: Common, axes: Mapping[str, Sequence[Any]], *, seeds: Sequence[int] = (), name: str = "grid") -> Design:
    """Every combination of values: of any number or word of the workload and the recipe, and of a command's own fields.

    The first axis varies slowest. Raises `ForescaleError` for an axis without values, or one that is fixed in common.
    """
    common.check_names(axes)
    for axis, values in axes.items():
        if not values:
            raise ForescaleError(f"the axis {axis} has no values: give some, or leave it out.")
        if axis in common.values:
            raise ForescaleError(f"{axis} is fixed at {common.values[axis]!r} and has an axis as well: leave one out.")
    count = prod(len(values) for values in axes.values())
    if count > MOST_RUNS:
        raise ForescaleError(f"a grid has at most {MOST_RUNS:,} runs; this one has {count:,}: take fewer values.")
    settings = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return make_design(common, settings, name=name, seeds=seeds)
