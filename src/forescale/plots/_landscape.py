"""Cells of a sweep: what its runs measured, and where laws chose in it."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREY, INK, SMALL, VERMILION, fixed_axes, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from forescale.fit import CellEvidence, CellGap

LEVELS = (0.25, 1.0, 3.0)  # per cent of loss
FILLS = ("#9ecae8", "#cfe5f4", "#edf5fa")  # within each level, the innermost first; lines tell them apart too
STYLES = ("solid", "dashed", "dotted")
MARGIN, BEYOND = 1.25, 4.0  # factors: the frame around the sweep, and how far it stretches for a choice beyond
WIDTH, HEIGHT = 3.3, 2.75  # inches of a panel
FRAME = (0.76, 0.46, 0.2, 0.4)  # and of what stands around its axes
HIGHEST = 6.0  # per cent: where the axis of a curve ends
SIGNS: Any = {
    "optimum": {"marker": "o", "markersize": 8.5, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.6},
    "choice": {"marker": "*", "markersize": 13, "markerfacecolor": VERMILION, "markeredgecolor": INK, "markeredgewidth": 0.7},
    "held out": {"marker": "*", "markersize": 11, "markerfacecolor": "white", "markeredgecolor": VERMILION},
    "published": {"marker": "D", "markersize": 6, "markerfacecolor": BLUE, "markeredgecolor": "white", "markeredgewidth": 0.7},
}  # fmt: skip
RUN: Any = {"marker": ".", "markersize": 2.6, "color": GREY, "linestyle": "none"}
SAID = {
    "choice": "the law's choice",
    "held out": "that of the law fitted without this cell",
    "published": "published Step Law's choice",
    "optimum": "measured optimum (smooth surface)",
}


def landscape_map(cell: CellEvidence, axes: Axes | None = None) -> Axes:
    """One cell: its runs, contours of the loss gap (%), the measured optimum and what the laws chose there.

    Over batch (tokens) and peak learning rate; where only one of them was swept, the loss gap along it. A choice more
    than fourfold beyond the sweep lies at the frame. `landscape_legend` says what the signs mean.
    """
    drawn: Any = fixed_axes(WIDTH, HEIGHT, FRAME) if axes is None else axes
    if cell.terrain.loss_gap.shape[0] > 1:
        _draw_map(drawn, cell)
    else:
        _draw_line(drawn, cell)
    drawn.set_title(_title(cell), loc="left", fontsize=SMALL, linespacing=1.3)
    return drawn


def landscape_legend(axes: Axes | None = None, *, columns: int = 2) -> Axes:
    """What the signs and lines of `landscape_map` mean."""
    from matplotlib.lines import Line2D

    drawn: Any = new_axes(4.9, 0.95) if axes is None else axes
    drawn.set_axis_off()
    entries: list[tuple[Any, str]] = [(Line2D([], [], linestyle="none", **SIGNS[k]), said) for k, said in SAID.items()]
    entries += [
        (Line2D([], [], color=INK, linewidth=0.9, linestyle=style), f"{level:g} % above the lowest loss")
        for level, style in zip(LEVELS, STYLES, strict=True)
    ]
    entries.append((Line2D([], [], **(RUN | {"markersize": 6})), "a run"))
    drawn.legend(*zip(*entries, strict=True), loc="center", ncols=columns, fontsize=SMALL, frameon=False)
    return drawn


def landscape_maps(cells: Sequence[CellEvidence], figure: Figure | None = None, *, columns: int = 4) -> Figure:
    """A panel a cell (`landscape_map`) and one legend below them all, in a figure of yours or a new one."""
    from matplotlib.figure import Figure as New

    across = min(columns, len(cells))
    down = ceil(len(cells) / across)
    made: Any = New(figsize=(WIDTH * across, HEIGHT * down + 0.9), layout="constrained") if figure is None else figure
    grid = made.add_gridspec(down + 1, across, height_ratios=[*[HEIGHT] * down, 0.8])
    for i, cell in enumerate(cells):
        landscape_map(cell, made.add_subplot(grid[i // across, i % across]))
    landscape_legend(made.add_subplot(grid[down, :]), columns=min(across, 4))
    return made


def _title(cell: CellEvidence) -> str:
    at = cell.cell
    active = f" ({humanize(at.active_params)} active)" if at.active_params < at.params else ""
    gaps = [f"law {_gap(cell.choice)}"]
    gaps += [f"Step Law {_gap(cell.published)}"] if cell.published is not None else []
    return f"N = {humanize(at.params)}{active}, D = {humanize(at.tokens)}\n{', '.join(gaps)}"


def _gap(choice: CellGap) -> str:
    return f"{'≥ ' if choice.clipped else ''}{100 * choice.smooth:+.2f} %".replace("-", "−")


def _choices(cell: CellEvidence) -> dict[str, tuple[float, float]]:
    """Sign -> (learning rate, batch), in the order in which they are drawn."""
    chosen = {"held out": cell.held_out, "published": cell.published, "choice": cell.choice}
    places = {sign: (gap.learning_rate, gap.batch_tokens) for sign, gap in chosen.items() if gap is not None}
    return {**places, "optimum": cell.optimum}


def _span(swept: Any, chosen: Sequence[float]) -> tuple[float, float]:
    """The sweep and the choices in or near it, with a margin."""
    low, high = float(swept.min()), float(swept.max())
    near = [min(max(c, low / BEYOND), high * BEYOND) for c in chosen]
    return widened(min(low, *near), max(high, *near), MARGIN)


def _clip(value: float, span: tuple[float, float]) -> float:
    return min(max(value, span[0] * MARGIN), span[1] / MARGIN)


def _draw_map(axes: Any, cell: CellEvidence) -> None:
    import numpy as np

    terrain, chosen = cell.terrain, _choices(cell)
    rates, batches = np.exp(cell.cell.points).T
    x_span = _span(batches, [batch for _, batch in chosen.values()])
    y_span = _span(rates, [rate for rate, _ in chosen.values()])
    log_axis(axes.xaxis, humanize, x_span)
    log_axis(axes.yaxis, "{:g}".format, y_span, 6)
    axes.set_xlabel("batch (tokens per step)", fontsize=SMALL)
    axes.set_ylabel("peak learning rate", fontsize=SMALL)
    percent = np.ma.masked_invalid(100 * terrain.loss_gap)
    mesh = (terrain.batches, terrain.learning_rates, percent)
    axes.contourf(*mesh, (-np.inf, *LEVELS), colors=FILLS)
    axes.contour(*mesh, LEVELS, colors=INK, linestyles=STYLES, linewidths=0.8)
    axes.plot(batches, rates, **RUN, zorder=2)
    for sign, (rate, batch) in chosen.items():
        axes.plot(_clip(batch, x_span), _clip(rate, y_span), linestyle="none", **SIGNS[sign], zorder=4, clip_on=False)


def _draw_line(axes: Any, cell: CellEvidence) -> None:
    """The loss gap along what was swept, each choice on the curve above its place."""
    import numpy as np

    along = 0 if cell.cell.spread[0] else 1
    terrain, chosen = cell.terrain, _choices(cell)
    curve = np.asarray((terrain.learning_rates, terrain.batches)[along][0], dtype=float)
    seen, percent = np.exp(cell.cell.points[:, along]), 100 * np.expm1(cell.cell.log_loss - cell.cell.log_loss.min())
    span = _span(seen, [choice[along] for choice in chosen.values()])
    log_axis(axes.xaxis, "{:g}".format if along == 0 else humanize, span)
    axes.set_xlabel("peak learning rate" if along == 0 else "batch (tokens per step)", fontsize=SMALL)
    axes.set_ylabel("loss above the lowest (%)", fontsize=SMALL)
    for level, style in zip(LEVELS, STYLES, strict=True):
        axes.axhline(level, color=INK, linewidth=0.8, linestyle=style, alpha=0.6)
    axes.plot(curve, 100 * terrain.loss_gap[0], color="#5a9fc9", linewidth=1.2)
    axes.plot(seen, percent, **(RUN | {"markersize": 6}))
    order = np.asarray(np.argsort(curve))
    interpolate: Any = np.interp
    top = min(max(2.0, 1.1 * float(percent.max())), HIGHEST)
    xs, ys = np.log(curve[order]), 100 * terrain.loss_gap[0][order]
    for sign, choice in chosen.items():
        place = _clip(choice[along], span)
        height = float(interpolate(log(place), xs, ys))
        axes.plot(place, min(height, top), linestyle="none", **SIGNS[sign], zorder=4, clip_on=False)
    axes.set_ylim(-0.4, top)
    axes.tick_params(labelsize=SMALL)
