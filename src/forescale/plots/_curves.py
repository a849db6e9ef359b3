"""Loss curves with their law, the schedules that were ranked by it, and what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import GREY, INK, SMALL
from forescale.plots._schedules import COLORS as EVERY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.curves import BestSchedule, CurveLaw, Ranked
    from forescale.schedules import Schedule

COLORS = tuple(color for color in EVERY if color != INK)
SHOWN = 5  # candidates whose rate is drawn
POINTS = 400
TOP = 0.02  # of the drawn losses may lie above the picture: a run's first steps


def ranking_figure(
    law: CurveLaw,
    schedules: Mapping[str, Schedule],
    ranked: Sequence[Ranked],
    best: BestSchedule,
    steps: float,
    peak: float,
) -> Axes:
    """Measured curves and the law (left), the leading candidates' rates (middle), final losses (right); returns the left axes.

    Dots are measured and lines are the law's; bars are 80 % intervals; the best schedule in the law is black.
    """
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(12.5, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _curves(left, law)
    _rates(middle, schedules, [each.name for each in ranked[:SHOWN]], best, steps, peak)
    _losses(right, ranked, best)
    return left


def _curves(axes: Any, law: CurveLaw) -> None:
    import numpy as np

    levels: list[float] = []
    for place, curve in enumerate(law.curves):
        color = COLORS[place % len(COLORS)]
        measured = np.flatnonzero(np.isfinite(curve.loss))
        measured = measured[np.unique(np.linspace(0, len(measured) - 1, POINTS).round().astype(int))]
        axes.plot(curve.step[measured], curve.loss[measured], ".", ms=2.5, color=color, alpha=0.5)
        name = curve.name or f"curve {place + 1}"
        axes.plot(curve.step, law.predict(curve.step, curve.learning_rate), color=color, lw=1.2, label=name)
        levels.extend(curve.loss[measured][curve.step[measured] >= min(law.start, law.time_unit / 24)].tolist())
    low, high = min(levels), float(np.quantile(levels, 1 - TOP))
    axes.set_ylim(low - 0.03 * (high - low), high)
    if len(law.curves) <= len(COLORS):
        axes.legend(fontsize=SMALL, frameon=False, loc="upper right")
    _finish(axes, "step", "loss (nats per token)", f"measured, and the {law.name} law")


def _rates(
    axes: Any, schedules: Mapping[str, Schedule], names: Sequence[str], best: BestSchedule, steps: float, peak: float
) -> None:
    for place, name in enumerate(names):
        progress = [i / POINTS for i in range(POINTS + 1)]
        look: Any = {"color": COLORS[place % len(COLORS)], "linewidth": 1.3}
        axes.plot([steps * p for p in progress], [peak * schedules[name](p) for p in progress], label=name, **look)
    axes.plot([0, *best.step], [0, *best.learning_rate], color=INK, lw=2, label="best in the law")
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0.1, 0.02))
    axes.ticklabel_format(axis="y", scilimits=(-3, 3))
    _finish(axes, "step", "learning rate", "the leading schedules")


def _losses(axes: Any, ranked: Sequence[Ranked], best: BestSchedule) -> None:
    rows = list(range(len(ranked), 0, -1))
    for row, each in zip(rows, ranked, strict=True):
        axes.plot([each.low, each.high], [row, row], color=GREY, lw=1)
    axes.plot([each.loss for each in ranked], rows, "o", color=COLORS[0], ms=5)
    axes.plot([best.loss], [len(ranked) + 1], "D", color=INK, ms=5)
    axes.axvline(best.loss, color=GREY, lw=0.7, ls=(0, (2, 2)))
    axes.set_yticks([len(ranked) + 1, *rows], ["best in the law", *(each.name for each in ranked)], fontsize=SMALL)
    _finish(axes, "final loss (nats per token), 80 % interval", "", "ranked")


def _finish(axes: Any, across: str, up: str, title: str) -> None:
    axes.set_xlabel(across, fontsize=SMALL + 1)
    axes.set_ylabel(up, fontsize=SMALL + 1)
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
