"""Where a sweep has runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREY, INK, SMALL, legend_below, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from forescale.fit import Coverage

MOST_LABELS = 40  # cells: beyond, numbers would cover each other
SMALLEST, LARGEST = 120, 620  # square points, of any cell, and of the cell with the most runs


def coverage_map(
    coverage: Sequence[Coverage],
    axes: Axes | None = None,
    *,
    counted: str = "a cell of the fit",
    left_out: str = "left out of the fit",
) -> Axes:
    """A circle for each cell over tokens and parameters, its area the number of runs; left-out cells are open.

    `counted` and `left_out` are what the legend calls the two.
    Of experts, active parameters. The number of runs stands in the circle, below it that of diverged runs, unless there
    are more than 40 cells.
    """
    drawn: Any = new_axes(6.6, 4.6) if axes is None else axes
    scale = LARGEST * min(1.0, MOST_LABELS / len(coverage)) / max(c.runs for c in coverage)
    spans = [widened(min(v), max(v), 1.6) for v in ([c.tokens for c in coverage], [c.active_params for c in coverage])]
    log_axis(drawn.xaxis, humanize, spans[0], 8)
    log_axis(drawn.yaxis, humanize, spans[1], 8)
    for is_out in (False, True):
        _draw(drawn, [c for c in coverage if bool(c.left_out) is is_out], scale, left_out=is_out)
    if len(coverage) <= MOST_LABELS:
        _label(drawn, coverage)
    drawn.set_xlabel("tokens D", fontsize=SMALL + 1)
    experts = any(c.active_params < c.params for c in coverage)
    drawn.set_ylabel("active parameters N_active" if experts else "parameters N (non-vocabulary)", fontsize=SMALL + 1)
    drawn.grid(color="#eeeeee", linewidth=0.7)
    drawn.set_axisbelow(True)
    _draw_legend(drawn, coverage, counted, left_out)
    return drawn


def _draw(axes: Any, cells: Sequence[Coverage], scale: float, *, left_out: bool) -> None:
    if cells:
        look = {"facecolors": "none", "edgecolors": GREY, "linestyles": "dashed"} if left_out else {
            "facecolors": "#9ecae8", "edgecolors": BLUE
        }  # fmt: skip
        area = [max(scale * c.runs, SMALLEST) for c in cells]
        axes.scatter(
            [c.tokens for c in cells], [c.active_params for c in cells], s=area, linewidths=1.2, alpha=0.9, **look
        )


def _label(axes: Any, cells: Sequence[Coverage]) -> None:
    for c in cells:
        text = f"{c.runs}" + (f"\n−{c.diverged}" if c.diverged else "")
        place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL - 0.5, "color": INK}
        axes.annotate(text, (c.tokens, c.active_params), (0, 0), textcoords="offset points", linespacing=1.0, **place)


def _draw_legend(axes: Any, cells: Sequence[Coverage], counted: str, left_out: str) -> None:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 9}
    numbers = ": its runs, less those that diverged" if len(cells) <= MOST_LABELS else "; area: number of runs"
    looks = [(counted + numbers, {"markerfacecolor": "#9ecae8", "markeredgecolor": BLUE}, False)]
    looks += [(left_out, {"markerfacecolor": "none", "markeredgecolor": GREY}, True)]
    there = {bool(c.left_out) for c in cells}
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], **look, **dot), text) for text, look, is_out in looks if is_out in there
    ]
    legend_below(axes, entries, 0.45)
