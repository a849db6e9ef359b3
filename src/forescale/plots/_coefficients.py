"""A fitted law beside others: a row a law, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.laws import SYMBOLS
from forescale.plots._parts import BLUE, SMALL, VERMILION, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from forescale.fit import Estimate, LawReading
    from forescale.workload import Workload

ROW, FRAME = 0.21, 1.0  # inches: of a row, and of everything else
NAMES = {"learning_rate": "peak learning rate", "batch_tokens": "batch (tokens per step)"}


def value_chart(readings: Sequence[LawReading], quantity: str, middle: Workload, axes: Axes | None = None) -> Axes:
    """Every law's learning rate or batch in the middle of the sweep, with 80 % intervals where the law states them."""
    rows = _rows(readings, quantity)
    drawn: Any = _axes(axes, len(rows))
    _draw(drawn, [(_name(each), each.value, each.own) for each in rows])
    ends = [e for each in rows for e in _ends(each.value)]
    log_axis(drawn.xaxis, humanize if quantity == "batch_tokens" else "{:g}".format, widened(min(ends), max(ends), 1.3))
    where = f"N = {humanize(middle.params)}, D = {humanize(middle.tokens)}"
    drawn.set_xlabel(f"{NAMES[quantity]} at {where}", fontsize=SMALL, loc="right")
    return drawn


def slope_chart(readings: Sequence[LawReading], quantity: str, variable: str, axes: Axes | None = None) -> Axes:
    """Every law's exponent of `variable` (its slope in logarithms in the middle of the sweep), with 80 % intervals."""
    rows = [each for each in _rows(readings, quantity) if variable in each.slopes]
    drawn: Any = _axes(axes, len(rows))
    _draw(drawn, [(_name(each), each.slopes[variable], each.own) for each in rows])
    drawn.axvline(0, color="#b0b0b0", linewidth=0.8, zorder=1)
    drawn.locator_params(axis="x", nbins=6)
    label = f"exponent of {SYMBOLS[variable]} in the {NAMES[quantity].partition(' (')[0]}"
    drawn.set_xlabel(label, fontsize=SMALL, loc="right")
    return drawn


def _name(each: LawReading) -> str:
    return "this law" if each.own else each.name


def _rows(readings: Sequence[LawReading], quantity: str) -> list[LawReading]:
    """The fitted law on top, the others in the order of the catalog."""
    return sorted((each for each in readings if each.quantity == quantity), key=lambda each: not each.own)


def _axes(axes: Axes | None, rows: int) -> Axes:
    return new_axes(4.3, FRAME + ROW * rows) if axes is None else axes


def _draw(axes: Any, rows: Sequence[tuple[str, Estimate, bool]]) -> None:
    for height, (_, estimate, own) in enumerate(rows):
        color = VERMILION if own else BLUE
        if own and estimate.low is not None and estimate.high is not None:
            axes.axvspan(estimate.low, estimate.high, color=VERMILION, alpha=0.12, linewidth=0, zorder=0)
        low, high = min(_ends(estimate)), max(_ends(estimate))
        axes.plot([low, high], [height, height], color=color, linewidth=1.6, solid_capstyle="butt", zorder=2)
        marker = {"marker": "*" if own else "o", "markersize": 11 if own else 5}
        axes.plot(estimate.value, height, color=color, linestyle="none", zorder=3, **marker)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="both", color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)


def _ends(estimate: Estimate) -> list[float]:
    return [v for v in (estimate.low, estimate.value, estimate.high) if v is not None]
