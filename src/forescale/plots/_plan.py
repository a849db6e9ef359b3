"""A plan on the landscape of loss: its choice, what it costs to miss it, and where the other laws would go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import INK, SMALL, VERMILION, label_in_margin, legend_below, new_axes
from forescale.plots._rivals import Frame, Rival, draw_rivals, rival_entries, rival_of
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.plan import Plan
    from forescale.recipe import Value

LEVELS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # per cent of loss
POINTS = 97  # of the grid, along each axis
MARGIN = 0.6  # octaves of frame around the landscape


def plan_map(plan: Plan, axes: Axes | None = None) -> Axes:
    """The expected loss gap over batch (tokens) and peak learning rate, with the plan's choice and every rival's.

    The landscape is centred on the law's own optimum, and hatched where nobody measured it. A law beyond the frame is an
    arrow at its edge; a law without a value here is named in the margin. Axes of your own want a figure of layout
    "constrained".
    """
    drawn = new_axes(8.6, 6.0) if axes is None else axes
    frame = _frame(plan)
    _set_axes(drawn, plan, frame)
    _draw_landscape(drawn, plan)
    rivals = [rival_of(plan, each, frame) for each in plan.alternatives]
    draw_rivals(drawn, rivals)
    label_in_margin(drawn, [(each.label, each.point) for each in rivals])
    _draw_choice(drawn, plan)
    _draw_legend(drawn, plan, rivals)
    return drawn


def _frame(plan: Plan) -> Frame:
    """The landscape and the plan's choice, with a margin."""
    ground, recipe = plan.terrain, plan.recipe

    def span(octaves: Sequence[float], centre: float, choice: float) -> tuple[float, float]:
        low, high = min(centre * 2 ** octaves[0], choice), max(centre * 2 ** octaves[-1], choice)
        return low / 2**MARGIN, high * 2**MARGIN

    return Frame(
        batch=span(ground.landscape.batch_tokens.octaves, ground.batch_tokens, recipe.batch_tokens.number),
        rate=span(ground.landscape.learning_rate.octaves, ground.learning_rate, recipe.learning_rate.number),
    )


def _set_axes(axes: Any, plan: Plan, frame: Frame) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log", xlim=frame.batch, ylim=frame.rate)
    axes.set_xlabel("batch (tokens per step)")
    axes.set_ylabel("peak learning rate")
    axes.set_title(_title(plan), loc="left", fontsize=10)
    axes.set_facecolor("#f2f2f2")
    for axis, text in ((axes.xaxis, humanize), (axes.yaxis, "{:g}".format)):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axis.set_major_formatter(FuncFormatter(partial(_tick, text)))
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=SMALL)


def _tick(text: Callable[[float], str], value: float, _position: int) -> str:
    return text(value)


def _title(plan: Plan) -> str:
    work = plan.workload
    active = f" ({humanize(work.active)} active)" if work.is_moe else ""
    sizes = f"{humanize(work.params)} non-vocabulary parameters{active}, {humanize(work.tokens)} tokens"
    return f"Plan for {sizes}, sequences of {work.seq_len}"


def _draw_landscape(axes: Any, plan: Plan) -> None:
    """Filled contours, the ridge, and hatching where the landscape ends."""
    ground = plan.terrain
    batches = _spaced(ground.landscape.batch_tokens.octaves, ground.batch_tokens)
    rates = _spaced(ground.landscape.learning_rate.octaves, ground.learning_rate)
    gaps = [[_or_nan(ground.loss_gap_percent(rate, batch)) for batch in batches] for rate in rates]
    axes.patch.set(hatch="///", edgecolor="#c8c8c8")
    filled = axes.contourf(batches, rates, gaps, LEVELS, colors=_colors(len(LEVELS)), extend="max")
    axes.contour(batches, rates, gaps, LEVELS[1:], colors="white", linewidths=0.7)
    bar = axes.figure.colorbar(filled, ax=axes, location="bottom", ticks=LEVELS, aspect=45, pad=0.02)
    source = f"landscape of {ground.law}, centred on the chosen law's optimum"
    bar.set_label(f"expected loss above the optimum (%): {source}", fontsize=SMALL, parse_math=False)
    bar.ax.set_xticks(LEVELS, [f"{level:g}" for level in LEVELS], fontsize=SMALL)
    ridge = [ground.learning_rate * (b / ground.batch_tokens) ** ground.landscape.ridge for b in batches]
    axes.plot(batches, ridge, "--", color=INK, linewidth=0.9, alpha=0.7)


def _spaced(octaves: Sequence[float], centre: float) -> list[float]:
    inside = 1 - 1e-12  # rounding must not take the ends beyond the landscape
    low, high = octaves[0] * inside, octaves[-1] * inside
    return [centre * 2 ** (low + (high - low) * i / (POINTS - 1)) for i in range(POINTS)]


def _or_nan(gap: float | None) -> float:
    return nan if gap is None else gap


def _colors(count: int) -> list[tuple[float, ...]]:
    """Viridis from light to dark, softened so that black lines and markers stand out on all of it."""
    from matplotlib import colormaps

    scale: Any = colormaps["viridis_r"]
    return [tuple(0.65 * c + 0.35 for c in scale(i / (count - 1))[:3]) for i in range(count)]


def _draw_choice(axes: Any, plan: Plan) -> None:
    batch, rate = plan.recipe.batch_tokens, plan.recipe.learning_rate
    axes.errorbar(
        batch.number,
        rate.number,
        xerr=_reach(batch),
        yerr=_reach(rate),
        color=VERMILION,
        elinewidth=2,
        capsize=4,
        zorder=5,
    )
    axes.plot(batch.number, rate.number, "*", color=VERMILION, markeredgecolor=INK, markersize=21, zorder=6)


def _reach(value: Value) -> list[list[float]] | None:
    """How far the interval goes below and above; None where there is none."""
    if value.low is None or value.high is None:
        return None
    return [[max(value.number - value.low, 0.0)], [max(value.high - value.number, 0.0)]]


def _choice(plan: Plan) -> str:
    batch, rate = plan.recipe.batch_tokens, plan.recipe.learning_rate
    bars = "; bars: 80 % intervals" if _reach(batch) or _reach(rate) else ""
    return f"the plan: {humanize(batch.number)} tokens, {rate.number:.3g}{bars}"


def _draw_legend(axes: Any, plan: Plan, rivals: Sequence[Rival]) -> None:
    """What is drawn, where it is drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    star: Any = Line2D([], [], color=VERMILION, marker="*", markersize=13, markeredgecolor=INK, linewidth=2)
    entries: list[tuple[Any, str]] = [
        (star, _choice(plan)),
        (Line2D([], [], color=INK, linestyle="--", linewidth=0.9), "best learning rate at each batch"),
        (Patch(facecolor="#f2f2f2", edgecolor="#c8c8c8", hatch="///"), "beyond the landscape"),
        *rival_entries(rivals),
    ]
    legend_below(axes, entries, 0.42)
