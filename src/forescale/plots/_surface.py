"""A surface over one workload: its loss gap in learning rate and batch, with the runs that were made there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.plots._parts import GREEN, INK, SMALL, VERMILION, legend_below, new_axes
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.fit import Cell
    from forescale.fit.surface import Surface

LEVELS = (0.1, 0.25, 0.5, 1, 2, 5)  # per cent of loss
MESH = 121
MARGIN = 1.6  # times the swept range, in both directions
REACH = (8.0, 16.0)  # times the best learning rate and batch, where no runs say how far to draw
CHANCE = (0.5,)


def surface_map(surface: Surface, workload: Cell | tuple[float, float], axes: Axes | None = None) -> Axes:
    """Contours of the surface's loss gap (per cent) for one workload, its choice, and where half of the runs diverge.

    `workload` is a cell, whose runs are drawn, coloured by their measured gap on the contours' own levels, or
    (params, tokens).
    """
    import numpy as np

    cell = None if isinstance(workload, tuple) else workload
    params, tokens = workload if isinstance(workload, tuple) else (workload.params, workload.tokens)
    active = None if cell is None else cell.active_params
    best = surface.best(params, tokens, active_params=active)
    rates, batches = _mesh(best.learning_rate, best.batch_tokens, cell)
    lr: Any = rates[None, :] * np.ones((MESH, 1))
    batch: Any = batches[:, None] * np.ones((1, MESH))
    drawn: Any = new_axes(7.0, 5.4) if axes is None else axes
    gap = 100 * surface.gap(params, tokens, lr, batch, active)
    lines = drawn.contour(lr, batch, gap, levels=LEVELS, colors=INK, linewidths=0.8)
    drawn.clabel(lines, fmt=_percent, fontsize=SMALL)
    entries: list[tuple[Any, str]] = []
    if cell is not None:
        entries.append((_draw_runs(drawn, cell), "run, by its measured gap"))
    chance = surface.divergence(params, tokens, lr, batch, active)
    if chance.min() < CHANCE[0] < chance.max():
        drawn.contour(lr, batch, chance, levels=CHANCE, colors=VERMILION, linestyles="--", linewidths=1.4)
        entries.append(
            (drawn.plot([], [], color=VERMILION, linestyle="--", linewidth=1.4)[0], "half of the runs diverge")
        )
    entries.append((_draw_choice(drawn, best), "the surface's choice, 80 % intervals"))
    _set_axes(drawn, surface, params, tokens)
    legend_below(drawn, entries, 0.55)
    return drawn


def _mesh(rate: float, batch: float, cell: Cell | None) -> tuple[Any, Any]:
    import numpy as np

    spans = [(rate / REACH[0], rate * REACH[0]), (batch / REACH[1], batch * REACH[1])]
    if cell is not None:
        swept = (cell.learning_rates, cell.batches)
        spans = [
            (min(float(v[0]), best) / MARGIN, max(float(v[-1]), best) * MARGIN)
            for v, best in zip(swept, (rate, batch), strict=True)
        ]
    made = [np.geomspace(low, high, MESH) for low, high in spans]
    return made[0], made[1]


def _draw_runs(axes: Any, cell: Cell) -> Any:
    import numpy as np
    from matplotlib.colors import BoundaryNorm

    percent = 100 * np.expm1(cell.log_loss - cell.log_loss.min())
    norm = BoundaryNorm((0, *LEVELS), 256, extend="max")
    dots = axes.scatter(
        *np.exp(cell.points.T),
        c=percent,
        cmap="viridis_r",
        norm=norm,
        s=34,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
    )
    bar = axes.figure.colorbar(dots, ax=axes, label="measured loss gap (%)", extend="max", pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    return dots


def _draw_choice(axes: Any, best: Any) -> Any:
    rate, batch = best.learning_rate_interval, best.batch_tokens_interval
    return axes.errorbar(
        best.learning_rate,
        best.batch_tokens,
        xerr=[[best.learning_rate - rate[0]], [rate[1] - best.learning_rate]],
        yerr=[[best.batch_tokens - batch[0]], [batch[1] - best.batch_tokens]],
        fmt="*",
        markersize=13,
        color=GREEN,
        markeredgecolor=INK,
        capsize=3,
        zorder=4,
    )


def _set_axes(axes: Any, surface: Surface, params: float, tokens: float) -> None:
    axes.set(xscale="log", yscale="log", xlabel="peak learning rate", ylabel="batch (tokens)")
    axes.yaxis.set_major_formatter(_tokens)
    far = ", ".join(f"{k} x{f:.3g}" for k, f in surface.outside(params, tokens).items())
    outside = f" (beyond the runs fitted: {far})" if far else ""
    axes.set_title(f"Loss gap at N = {humanize(params)}, D = {humanize(tokens)}{outside}", loc="left", fontsize=10)


def _percent(level: float) -> str:
    return f"{level:g} %"


def _tokens(value: float, _: int) -> str:
    return humanize(value)
