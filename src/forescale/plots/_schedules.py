"""Schedules beside one another: the factor on the peak, and how much each update counts in the final weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plots._parts import BLUE, GREEN, INK, SMALL, VERMILION
from forescale.schedules import token_progress, update_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.schedules import Schedule

COLORS = (BLUE, VERMILION, GREEN, INK, "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's without yellow
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)))  # where the colours begin anew
MOST = 2000  # points of a line
CHARACTERS, MARK = 110, 9  # of a line of the legend, and of what stands for a line in it


def schedules_figure(
    schedules: Mapping[str, Schedule],
    steps: int,
    timescale: float,
    *,
    weight_decay: Schedule | None = None,
    batch: Schedule | None = None,
) -> Axes:
    """Factor (left) and density of the coefficients (right) over token progress, a line a name; returns the left axes.

    The density is a step's coefficient over its share of the tokens, steps × c where every step has the same batch: the
    area under it is 1 less the coefficient of the initial weights. Arguments and errors as for `update_weights`.
    """
    if not schedules:
        raise ForescaleError("a picture of schedules needs one; got none: name a schedule.")
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    options: dict[str, Any] = {"weight_decay": weight_decay, "batch": batch}
    for place, (name, schedule) in enumerate(schedules.items()):
        look = _look(place)
        progress = [i / MOST for i in range(MOST + 1)]
        left.plot(progress, [schedule(p) for p in progress], label=name, **look)
        right.plot(*_density(schedule, steps, timescale, options), **look)
    _finish(left, "progress", "factor on the peak learning rate", 1.04)
    _finish(right, "progress", "density of the updates in the final weights", None)
    right.set_title(f"timescale {timescale:g}", fontsize=SMALL + 1, loc="right")
    columns = max(min(CHARACTERS // (max(map(len, schedules)) + MARK), 5, len(schedules)), 1)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=SMALL + 1, frameon=False)
    return left


def _look(place: int) -> dict[str, Any]:
    return {
        "color": COLORS[place % len(COLORS)],
        "linestyle": DASHES[place // len(COLORS) % len(DASHES)],
        "linewidth": 1.7,
    }


def _density(schedule: Schedule, steps: int, timescale: float, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Token progress and coefficient over share of tokens: a stair a step; of many steps, the middles of some."""
    import numpy as np

    edges = token_progress(options["batch"], steps)
    density = update_weights(schedule, steps, timescale, **options) / np.diff(edges)
    if len(density) <= MOST:
        return np.repeat(edges, 2)[1:-1], np.repeat(density, 2)
    shown = np.linspace(0, len(density) - 1, MOST).round().astype(int)
    return ((edges[1:] + edges[:-1]) / 2)[shown], density[shown]


def _finish(axes: Any, across: str, up: str, top: float | None) -> None:
    axes.set(xlim=(0, 1), ylim=(0, top))
    axes.set_xlabel(across, fontsize=SMALL + 1)
    axes.set_ylabel(up, fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
