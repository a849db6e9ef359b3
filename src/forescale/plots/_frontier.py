"""A frontier: on the loss law's contours over parameters and tokens, and as what is traded against what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREEN, INK, SMALL, VERMILION, label_in_margin, legend_below, new_axes
from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.plan.frontier import Frontier, Point

GRID = 120  # places along each axis of the contours
MARGIN = 2.0  # of the frame, as a factor
RATIOS = (1.0, 20.0, 400.0, 8000.0)  # tokens per parameter that are drawn as lines
CONTOURS = 9
LABELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("training time", humanize_duration),
    "compute": ("training compute (FLOPs)", "{:.3g}".format),
    "lifetime_compute": ("training and serving compute (FLOPs)", "{:.3g}".format),
    "loss": ("loss (nats per token)", "{:.4g}".format),
}


def frontier_figure(made: Frontier) -> Axes:
    """Both pictures side by side in one figure; the axes returned are those of the contours."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(13.2, 6.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    frontier_map(made, left)
    frontier_trade(made, right)
    return left


def frontier_map(made: Frontier, axes: Axes | None = None) -> Axes:
    """Contours of the loss over params and tokens of a small batch (D_min), the frontier's runs, and the chosen one.

    A run stands at the tokens it takes; the thin line below it ends at D_min, where the contours are read. Axes of your own
    want a figure of layout "constrained".
    """
    drawn: Any = new_axes(7.4, 6.2) if axes is None else axes
    params, tokens = _frame(made)
    drawn.set(xscale="log", yscale="log", xlim=params, ylim=tokens)
    _log_ticks(drawn.xaxis, params, humanize)
    drawn.set_xlabel(f"parameters, as {made.problem.world.loss_law.name} counts them")
    drawn.set_ylabel("tokens")
    _log_ticks(drawn.yaxis, tokens, humanize)
    drawn.set_title("loss (nats per token) and where the frontier's runs lie", loc="left", fontsize=10)
    _draw_contours(drawn, made, params, tokens)
    _draw_ratios(drawn, params, tokens)
    for point in made.points:
        drawn.plot(
            [point.params] * 2, [point.small_batch_tokens, point.tokens], "-", color=BLUE, linewidth=0.9, alpha=0.7
        )
    drawn.plot([p.params for p in made.points], [p.tokens for p in made.points], "o", color=BLUE, markersize=5)
    drawn.plot(
        *_at(made.chosen, "params", "tokens"), "*", color=VERMILION, markeredgecolor=INK, markersize=19, zorder=6
    )
    _map_legend(drawn, made)
    return drawn


def frontier_trade(made: Frontier, axes: Axes | None = None) -> Axes:
    """The frontier in the two quantities that it trades, with the chosen run and models of other sizes."""
    drawn: Any = new_axes(7.4, 6.2) if axes is None else axes
    first, second = made.trade
    points = sorted(made.points, key=lambda p: getattr(p, first))
    others = [o for o in made.other_sizes if _near(o.point, made, made.trade)]
    shown = [*points, *(o.point for o in others)]
    for key, axis, direction in ((first, drawn.xaxis, "x"), (second, drawn.yaxis, "y")):
        label, text = LABELS[key]
        values = [getattr(p, key) for p in shown]
        getattr(drawn, f"set_{direction}label")(label)
        getattr(drawn, f"set_{direction}scale")("log")
        ends = _stretched(min(values), max(values), 1.25 if key != "loss" else 1.01)
        getattr(drawn, f"set_{direction}lim")(ends)
        _log_ticks(axis, ends, text)
    drawn.set_title(f"{LABELS[first][0]} against {LABELS[second][0]}", loc="left", fontsize=10)
    drawn.grid(color="#e6e6e6", linewidth=0.6)
    drawn.plot(*_columns(points, first, second), "o-", color=BLUE, markersize=5, linewidth=1.4)
    for other in others:
        x, y = _at(other.point, first, second)
        drawn.plot(x, y, "s", color=GREEN, markerfacecolor="white" if other.dominated else GREEN, markersize=6.5)
    label_in_margin(drawn, [(_size(other.point), _at(other.point, first, second)) for other in others])
    _annotate_ends(drawn, points, made.chosen, first, second)
    drawn.plot(*_at(made.chosen, first, second), "*", color=VERMILION, markeredgecolor=INK, markersize=19, zorder=6)
    _trade_legend(drawn, bool(others))
    return drawn


def _frame(made: Frontier) -> tuple[tuple[float, float], tuple[float, float]]:
    points = made.points
    params = [p.params for p in points]
    tokens = [t for p in points for t in (p.tokens, p.small_batch_tokens)]
    return _stretched(min(params), max(params), MARGIN), _stretched(min(tokens), max(tokens), MARGIN)


def _stretched(low: float, high: float, factor: float) -> tuple[float, float]:
    return low / factor, high * factor


def _log_ticks(axis: Any, ends: tuple[float, float], text: Callable[[float], str]) -> None:
    """A handful of round ticks, also where the axis spans less than a decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = ends
    if text is humanize_duration:
        axis.set_major_locator(FixedLocator(_durations(low, high)))
    elif high / low > 8:
        subs = (1, 2, 5) if high / low < 3000 else (1,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(partial(_tick, text)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(labelsize=SMALL)


def _tick(text: Callable[[float], str], value: float, _position: int) -> str:
    return text(value)


def _durations(low: float, high: float) -> list[float]:
    """Round times between the ends: of seconds, minutes, hours, days or years."""
    minute, hour, day, year = 60.0, 3600.0, 86400.0, 365.25 * 86400.0
    steps = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    rounds = [k * 10.0**-e for e in (3, 2, 1) for k in (1, 2, 5)]
    rounds += [k * unit for unit in (1.0, minute) for k in steps]
    rounds += [hour * k for k in (1, 2, 3, 6, 12, 24)] + [day * k for k in (2, 3, 5, 7, 10, 14, 20, 30, 60, 120, 240)]
    rounds += [year * k * 10**e for e in range(6) for k in (1, 2, 5)]
    inside = [t for t in rounds if low <= t <= high]
    if len(inside) >= 3:
        return inside[:: max(1, round(len(inside) / 7))]
    return [low * (high / low) ** (i / 4) for i in range(5)]


def _draw_contours(axes: Any, made: Frontier, params: tuple[float, float], tokens: tuple[float, float]) -> None:
    import numpy as np

    x, y = (np.geomspace(*ends, GRID) for ends in (params, tokens))
    loss = made.problem.world.loss(x[None, :], y[:, None])
    finite, own = np.log(loss[np.isfinite(loss)]), made.chosen.loss
    low, high = float(finite.min()), float(finite.max())
    levels = np.exp(np.linspace(low, high, CONTOURS + 2)[1:-1])
    levels = levels[np.abs(np.log(levels / own)) > 0.4 * (high - low) / CONTOURS]
    for values, color, width in ((levels, "#8c8c8c", 0.8), ([own], INK, 1.6)):
        lines = axes.contour(x, y, loss, values, colors=color, linewidths=width)
        if color != INK:  # the legend tells that of the chosen run, whose points lie along the line
            axes.clabel(lines, fmt="%.3f", fontsize=SMALL - 1, colors="#595959")


def _draw_ratios(axes: Any, params: tuple[float, float], tokens: tuple[float, float]) -> None:
    """Dotted lines of equal tokens per parameter, each labelled where it leaves the frame."""
    for ratio in RATIOS:
        low, high = max(params[0], tokens[0] / ratio), min(params[1], tokens[1] / ratio)
        if low * 1.3 < high:
            axes.plot([low, high], [low * ratio, high * ratio], ":", color=GREEN, linewidth=1.1)
            style: Any = {"fontsize": SMALL - 1, "color": GREEN, "textcoords": "offset points", "xytext": (-3, -4)}
            style |= {
                "ha": "right",
                "va": "top",
                "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            }
            axes.annotate(f"{ratio:,g} per parameter", (high, high * ratio), **style)


def _near(point: Point, made: Frontier, keys: Sequence[str]) -> bool:
    """Whether a run is near enough to the frontier to be drawn without squeezing it."""
    for key in keys:
        values = [getattr(p, key) for p in made.points]
        room = 1.15 if key == "loss" else 3.0
        if not min(values) / room <= getattr(point, key) <= max(values) * room:
            return False
    return True


def _columns(points: Sequence[Point], first: str, second: str) -> tuple[list[float], list[float]]:
    return [getattr(p, first) for p in points], [getattr(p, second) for p in points]


def _at(point: Point, first: str, second: str) -> tuple[float, float]:
    return getattr(point, first), getattr(point, second)


def _size(point: Point) -> str:
    ratio = point.tokens_per_param
    return f"{humanize(point.params)}, {f'{ratio:.3g}' if ratio < 1000 else f'{ratio:,.0f}'} per parameter"


def _annotate_ends(axes: Any, points: Sequence[Point], chosen: Point, first: str, second: str) -> None:
    """What the two ends of the frontier are, beside them."""
    style: Any = {"textcoords": "offset points", "fontsize": SMALL, "color": BLUE}
    for point, place in (
        (points[0], {"xytext": (9, -3), "ha": "left", "va": "bottom"}),
        (points[-1], {"xytext": (0, -8), "ha": "right", "va": "top"}),
    ):
        if point is not chosen:
            axes.annotate(
                f"{_size(point)}\nbatch {humanize(point.batch_tokens)}", _at(point, first, second), **place, **style
            )


def _star() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=VERMILION, marker="*", markersize=13, markeredgecolor=INK, linestyle="none")


def _chosen(made: Frontier) -> str:
    point = made.chosen
    return (
        f"chosen: {humanize(point.params)} parameters, {humanize(point.tokens)} tokens, batch {humanize(point.batch_tokens)}, "
        f"{humanize_duration(point.seconds)}"
    )


def _map_legend(axes: Any, made: Frontier) -> None:
    from matplotlib.lines import Line2D

    run: Any = Line2D([], [], color=BLUE, marker="o", markersize=5, linewidth=0.9)
    own: Any = Line2D([], [], color=INK, linewidth=1.6)
    ratio: Any = Line2D([], [], color=GREEN, linestyle=":", linewidth=1.1)
    law = made.problem.world.loss_law.name
    entries: list[tuple[Any, str]] = [(_star(), _chosen(made))]
    entries.append((run, "a run of the frontier, and down to its tokens at a small batch (D_min)"))
    entries += [
        (own, f"equal loss by {law} at D_min; thick: {made.chosen.loss:.3f}, of the chosen run"),
        (ratio, "equal tokens per parameter"),
    ]
    legend_below(axes, entries, 0.42, columns=1)


def _trade_legend(axes: Any, others: bool) -> None:
    from matplotlib.lines import Line2D

    frontier: Any = Line2D([], [], color=BLUE, marker="o", markersize=5, linewidth=1.4)
    entries: list[tuple[Any, str]] = [(_star(), "chosen"), (frontier, "frontier: no run is better in both")]
    if others:
        other: Any = Line2D([], [], color=GREEN, marker="s", markerfacecolor="white", markersize=6.5, linestyle="none")
        entries.append((other, "another size at its best, beaten by the frontier (tokens per parameter)"))
    legend_below(axes, entries, 0.42, columns=1)
