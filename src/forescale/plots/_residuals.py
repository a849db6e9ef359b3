"""How far a law's choices lie from the measured optima."""

from __future__ import annotations

from math import log2, sqrt
from typing import TYPE_CHECKING, Any

from forescale.laws import SYMBOLS
from forescale.plots._parts import GREY, INK, SMALL, VERMILION, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from forescale.fit import CellEvidence, CellGap

NAMES = {"learning_rate": "learning rate", "batch_tokens": "batch"}
DODGE, WIDEST = 0.012, 0.05  # of the axis: between cells of the same size, and for all of them


def residual_chart(cells: Sequence[CellEvidence], quantity: str, variable: str, axes: Axes | None = None) -> Axes:
    """The law's learning rate or batch over the measured optimum, in octaves, against `params` or `tokens`.

    Stars: the law; open stars: the law fitted without the cell; bars: from the choice to both ends of what is within
    0.25 % of the cell's lowest loss, so a bar that reaches zero costs next to nothing. Grey squares: the best run lies on
    the edge of its sweep, so that the optimum may lie beyond.
    """
    drawn: Any = new_axes(4.3, 3.2) if axes is None else axes
    values = [getattr(cell.cell, variable) for cell in cells]
    span = widened(min(values), max(values), 1.5)
    log_axis(drawn.xaxis, humanize, span, 6)
    drawn.axhline(0, color=INK, linewidth=0.9, zorder=1)
    for cell, x in zip(cells, _dodged(values, span), strict=True):
        _draw(drawn, cell, quantity, x)
    drawn.set_xlabel({"params": "parameters N", "tokens": "tokens D"}.get(variable, SYMBOLS[variable]), fontsize=SMALL)
    drawn.set_ylabel(f"{NAMES[quantity]}: choice over optimum (octaves)", fontsize=SMALL)
    drawn.set_title(_title(cells, quantity), loc="left", fontsize=SMALL)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(axis="y", color="#eeeeee", linewidth=0.7)
    drawn.set_axisbelow(True)
    return drawn


def _title(cells: Sequence[CellEvidence], quantity: str) -> str:
    """Root mean squares, in octaves."""
    own = [cell.octaves(quantity, cell.choice) for cell in cells]
    left_out = [cell.octaves(quantity, cell.held_out) for cell in cells if cell.held_out is not None]
    parts = [f"rms {_rms(own):.2f}"] + ([f"{_rms(left_out):.2f} with the cell left out"] if left_out else [])
    return f"{', '.join(parts)} (octaves)"


def _rms(values: Sequence[float]) -> float:
    return sqrt(sum(v * v for v in values) / len(values))


def _dodged(values: Sequence[float], span: tuple[float, float]) -> list[float]:
    """Values moved apart a little where several cells share one."""
    keys = [f"{value:.2g}" for value in values]
    most = max(keys.count(key) for key in keys)
    step = (span[1] / span[0]) ** min(DODGE, WIDEST / most)
    seen: dict[str, int] = {}
    places: list[float] = []
    for key, value in zip(keys, values, strict=True):
        count = seen[key] = seen.get(key, -1) + 1
        places.append(value * step ** (((count + 1) // 2) * (-1) ** count))
    return places


def _draw(axes: Any, cell: CellEvidence, quantity: str, x: float) -> None:
    color = GREY if cell.cell.on_edge else VERMILION
    y = cell.octaves(quantity, cell.choice)
    if cell.plateau is not None:
        low, high = cell.plateau[0 if quantity == "learning_rate" else 1]
        ends = [_octaves(cell.choice, quantity, end) for end in (high, low)]
        axes.plot([x, x], ends, color=color, linewidth=2, alpha=0.35, solid_capstyle="butt", zorder=2)
    if cell.held_out is not None:
        marker = {"marker": "*", "markersize": 8, "markerfacecolor": "white", "markeredgecolor": color}
        axes.plot(x, cell.octaves(quantity, cell.held_out), linestyle="none", zorder=3, **marker)
    shape = {"marker": "s", "markersize": 5} if cell.cell.on_edge else {"marker": "*", "markersize": 10}
    axes.plot(x, y, color=color, linestyle="none", zorder=4, **shape)


def _octaves(choice: CellGap, quantity: str, end: float) -> float:
    return log2(getattr(choice, quantity) / end)
