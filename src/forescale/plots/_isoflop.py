"""An iso-FLOP set: loss over parameters, a curve a budget, and where each method puts the optimum."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import INK, SMALL, label_in_margin, legend_below, new_axes
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.fit.loss import Budget, IsoFlops

POINTS = 120  # of a curve
WIDTH = 84  # characters of a line of the title
COLORS = "cividis"  # light to dark in one order for every kind of colour vision
SPAN = (0.0, 0.88)  # of the colours: the lightest are lost on white


def isoflop_chart(found: IsoFlops, axes: Axes | None = None, *, source: str = "") -> Axes:
    """Loss (nats per token) over parameters, one colour a budget: runs, the law's curve, the parabola (dashed).

    A filled circle is the law's optimum, an open diamond the parabola's; the law's may lie beyond the runs, as far as the
    law's curve is drawn. Budgets (FLOPs) are named in the margin, the runs' `source` in the title. Axes of your own want
    a figure of layout "constrained".
    """
    drawn = new_axes(8.6, 5.6) if axes is None else axes
    for budget, color in zip(found.budgets, _colors(len(found.budgets)), strict=True):
        _draw_budget(drawn, found, budget, color)
    _set_axes(drawn, _title(found, source))
    _set_range(drawn, found)
    label_in_margin(drawn, [(f"{b.compute:.2g} FLOPs", _end(found, b)) for b in found.budgets])
    _draw_legend(drawn)
    return drawn


def _colors(count: int) -> list[Any]:
    from matplotlib import colormaps

    shades = colormaps[COLORS].reversed()
    low, high = 1 - SPAN[1], 1 - SPAN[0]
    return [shades(low + (high - low) * (i / max(count - 1, 1))) for i in range(count)]


def _draw_budget(axes: Any, found: IsoFlops, budget: Budget, color: Any) -> None:
    import numpy as np

    shelf = budget.shelf
    axes.plot(shelf.params, shelf.loss, "o", color=color, markersize=3.5, alpha=0.6, markeredgewidth=0, zorder=2)
    low, high = _reach(budget)
    sizes: Any = np.geomspace(low, high, POINTS)
    trained: Any = np.geomspace(float(shelf.params.min()), float(shelf.params.max()), POINTS)
    axes.plot(sizes, _law(found, budget, sizes), color=color, linewidth=1.3, zorder=3)
    axes.plot(trained, shelf.parabola(trained), color=color, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    best = budget.law.params.value
    axes.plot(best, _law(found, budget, best), zorder=5, **_mark("o", color, color))
    if budget.parabola is not None and budget.parabola.edge == "inside":
        at = budget.parabola.params.value
        axes.plot(at, shelf.parabola(at), zorder=6, **_mark("D", "white", color))


def _law(found: IsoFlops, budget: Budget, sizes: Any) -> Any:
    return found.fit.law.predict("loss", params=sizes, tokens=budget.shelf.tokens_at(sizes))


def _reach(budget: Budget) -> tuple[float, float]:
    """The sizes trained, and the law's optimum where it lies beyond by less than a factor of four."""
    low, high = float(budget.shelf.params.min()), float(budget.shelf.params.max())
    best = min(max(budget.law.params.value, low / 4), high * 4)
    return min(low, best), max(high, best)


def _mark(marker: str, face: Any, edge: Any) -> dict[str, Any]:
    return {
        "marker": marker, "linestyle": "none", "markersize": 7 if marker == "o" else 6, "markerfacecolor": face,
        "markeredgecolor": INK if marker == "o" else edge, "markeredgewidth": 1.2,
    }  # fmt: skip


def _end(found: IsoFlops, budget: Budget) -> tuple[float, float]:
    """Where the law's curve ends on the right."""
    high = _reach(budget)[1]
    return high, float(_law(found, budget, high))


def _set_axes(axes: Any, title: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("parameters", fontsize=9)
    axes.set_ylabel("loss (nats per token)", fontsize=9)
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)


def _tick(value: float, _position: int) -> str:
    return humanize(value)


def _set_range(axes: Any, found: IsoFlops) -> None:
    """Losses that were measured: a parabola that leaves them says nothing by where it goes."""
    losses = [loss for budget in found.budgets for loss in (budget.shelf.loss.min(), budget.shelf.loss.max())]
    room = 0.05 * (max(losses) - min(losses))
    axes.set_ylim(min(losses) - room, max(losses) + room)


def _title(found: IsoFlops, source: str) -> str:
    many = f"{len(found.budgets)} compute budget{'s' if len(found.budgets) > 1 else ''}"
    grows = "" if found.law is None else f"; N* ~ C^{found.law.params.value:.2f} by the law"
    if found.parabola is not None:
        grows += f", C^{found.parabola.params.value:.2f} by parabolas"
    return "\n".join(wrap(f"{source}{', ' if source else ''}{many}{grows}", WIDTH))


def _draw_legend(axes: Any) -> None:
    from matplotlib.lines import Line2D

    gray = "#555555"
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], color=gray, linewidth=1.3), "loss law of all runs along the budget"),
        (Line2D([], [], color=gray, linewidth=1, linestyle=(0, (4, 3))), "parabola of the budget's own runs"),
        (Line2D([], [], **_mark("o", gray, gray)), "the law's optimum"),
        (Line2D([], [], **_mark("D", "white", gray)), "the parabola's optimum"),
        (Line2D([], [], color=gray, marker="o", markersize=3.5, linestyle="none", markeredgewidth=0), "a run"),
    ]
    legend_below(axes, entries, 0.5)
