"""What a tuning learnt: the belief about the target's optimum, round by round, and the loss gap that it leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import (
    BLUE,
    GREY,
    INK,
    SMALL,
    VERMILION,
    label_in_margin,
    legend_below,
    log_axis,
    new_axes,
    widened,
)
from forescale.plots._rivals import Frame, Rival, draw_rivals, rival_entries, rival_of
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.fit.calibrate import Foresight
    from forescale.sweep.tune import Tuned, Verified

RADIUS = math.sqrt(-2 * math.log(0.2))  # in standard deviations, of the ellipse that holds 80 % of a Gaussian of two
POINTS = 181
MARGIN = 1.35
STYLES = ("dotted", "dashdot", "dashed")  # of the rounds but the last
LEVELS = (0, 0.1, 0.25, 0.5, 1, 2)  # per cent of loss, between which the target's runs share a colour
STAR: Any = {
    "marker": "*",
    "color": VERMILION,
    "markeredgecolor": INK,
    "markersize": 17,
    "linestyle": "none",
    "zorder": 6,
}

DIAMOND: Any = {
    "marker": "D",
    "color": BLUE,
    "markeredgecolor": "white",
    "markersize": 7,
    "linestyle": "none",
    "zorder": 5,
}


def tuning_belief_map(tuned: Tuned, axes: Axes | None = None) -> Axes:
    """Where the target's best learning rate and batch (tokens) lie: 80 % ellipses before the proxies and after each round.

    The star is the recipe's choice, which lies below the estimate on purpose; points are what other laws would choose, with
    the loss gap to expect of that, and arrows those beyond the frame. Where the target was run around the prediction, its
    runs stand in the colour of their loss gap. Axes of your own want a figure of layout "constrained".
    """
    drawn: Any = new_axes(8.6, 6.0) if axes is None else axes
    frame = _frame(tuned)
    log_axis(drawn.xaxis, humanize, frame.batch, 8)
    log_axis(drawn.yaxis, "{:g}".format, frame.rate, 8)
    entries = _draw_ellipses(drawn, tuned)
    rivals = [rival_of(tuned.run.plan, each, frame) for each in tuned.run.plan.alternatives]
    draw_rivals(drawn, rivals)
    label_in_margin(drawn, [(each.label, each.point) for each in rivals])
    if tuned.verified is not None:
        entries += _draw_runs(drawn, tuned.verified)
    _finish(drawn, tuned, entries, rivals)
    return drawn


def tuning_gap_chart(tuned: Tuned, axes: Axes | None = None) -> Axes:
    """The loss gap (%) to expect at the target, before the proxies and after each round, over what they cost.

    The cost is in per cent of the compute of one run of the target. Where the target was run around the prediction, the
    true gap stands at the end, and that of published Step Law, which costs nothing, at the beginning.
    """
    drawn: Any = new_axes(4.8, 3.1) if axes is None else axes
    spent, gaps = _spent(tuned), [100 * seen.loss_gap for seen in _foresights(tuned)]
    drawn.plot(spent, gaps, color=BLUE, marker="o", linewidth=1.5, markersize=6)
    said: Any = {"textcoords": "offset points", "fontsize": SMALL}
    for i, point in enumerate(zip(spent, gaps, strict=True)):
        drawn.annotate(f"round {i}" if i else "before", point, (5, 5), **said)
    for x, gap, name, look in _measured(tuned, spent[-1]):
        gaps.append(gap)
        drawn.plot(x, gap, **look)
        drawn.annotate(name, (x, gap), (9, -3), **said)
    drawn.set(xlim=(-0.04 * (spent[-1] or 1), 1.28 * (spent[-1] or 1)), ylim=(-0.04 * max(gaps), 1.12 * max(gaps)))
    drawn.set_xlabel("compute of the proxies (% of the target's)", fontsize=SMALL)
    drawn.set_ylabel("loss gap to expect at the target (%)", fontsize=SMALL)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(color="#eeeeee", linewidth=0.7)
    return drawn


def _measured(tuned: Tuned, spent: float) -> Iterator[tuple[float, float, str, Any]]:
    """What was measured at the target: place, gap (%), name and look."""
    if (verified := tuned.verified) is None:
        return
    if math.isfinite(verified.gap):
        yield spent, 100 * verified.gap, "measured", STAR
    if verified.published_gap is not None and math.isfinite(verified.published_gap):
        yield 0.0, 100 * verified.published_gap, "Step Law, measured", DIAMOND


def _foresights(tuned: Tuned) -> list[Foresight]:
    """What was known before the proxies and after each round."""
    return [tuned.calibration.before, *(each.after for each in tuned.rounds)]


def _spent(tuned: Tuned) -> list[float]:
    """Per cent of the target's compute, at each of these."""
    target, costs = tuned.target.compute, [each.compute for each in tuned.rounds]
    return [100 * sum(costs[:i]) / target for i in range(len(costs) + 1)]


def _ellipse(seen: Foresight) -> tuple[Any, Any]:
    """Batches and learning rates on the edge of what holds 80 % of the belief."""
    import numpy as np

    angle = np.linspace(0, 2 * np.pi, POINTS)
    r, octave = seen.correlation, math.log(2)
    rate = RADIUS * octave * seen.learning_rate.octaves * np.cos(angle)
    batch = RADIUS * octave * seen.batch_tokens.octaves * (r * np.cos(angle) + math.sqrt(1 - r * r) * np.sin(angle))
    return seen.batch_tokens.value * np.exp(batch), seen.learning_rate.value * np.exp(rate)


def _frame(tuned: Tuned) -> Frame:
    """All ellipses, the choice and the target's runs, with a margin."""
    edges = [_ellipse(seen) for seen in _foresights(tuned)]
    tries = () if tuned.verified is None else (tuned.verified.predicted, *tuned.verified.others)
    batches = [float(end) for batch, _ in edges for end in (batch.min(), batch.max())] + [t.batch_tokens for t in tries]
    rates = [float(end) for _, rate in edges for end in (rate.min(), rate.max())] + [t.learning_rate for t in tries]
    return Frame(
        batch=widened(min(batches), max(batches), MARGIN),
        rate=widened(min(rates), max(rates), MARGIN),
    )


def _draw_ellipses(axes: Any, tuned: Tuned) -> list[tuple[Any, str]]:
    """The beliefs, the last filled; what the lines mean."""
    before, *rounds = _foresights(tuned)
    (line,) = axes.plot(*_ellipse(before), color=GREY, linewidth=1.4)
    entries = [(line, "best setting, 80 %: before the proxies")]
    for i, seen in enumerate(rounds, start=1):
        last = i == len(rounds)
        style = "solid" if last else STYLES[(i - 1) % len(STYLES)]
        (line,) = axes.plot(*_ellipse(seen), color=BLUE, linestyle=style, linewidth=2 if last else 1.3)
        if last:
            axes.fill(*_ellipse(seen), color="#dcebf5", zorder=0)
            axes.plot(seen.batch_tokens.value, seen.learning_rate.value, "+", color=BLUE, markersize=9)
        entries.append((line, f"after round {i}" + (", + its middle" if last else "")))
    return entries


def _draw_runs(axes: Any, verified: Verified) -> list[tuple[Any, str]]:
    """The target's runs in the colour of their loss gap; a bar says which colour is which."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm
    from matplotlib.lines import Line2D

    tries = (verified.predicted, *verified.others)
    trained = [each for each in tries if math.isfinite(each.loss)]
    lost = [each for each in tries if math.isinf(each.loss)]
    gaps = [100 * (each.loss / verified.lowest.loss - 1) for each in trained]
    colors: Any = colormaps["viridis_r"]
    look: Any = {"cmap": colors, "norm": BoundaryNorm(LEVELS, colors.N, extend="max"), "edgecolors": INK}
    places = [[each.batch_tokens for each in trained], [each.learning_rate for each in trained]]
    drawn = axes.scatter(*places, c=gaps, s=52, linewidths=0.8, zorder=5, **look)
    bar = axes.figure.colorbar(drawn, ax=axes, location="bottom", aspect=45, pad=0.02)
    bar.set_label("runs of the target: loss above the lowest of them (%)", fontsize=SMALL)
    bar.ax.set_xticks(LEVELS, [f"{level:g}" for level in LEVELS], fontsize=SMALL)
    cross: Any = {"marker": "X", "color": INK, "markersize": 7, "linestyle": "none"}
    for each in lost:
        axes.plot(each.batch_tokens, each.learning_rate, **cross, zorder=5)
    dot = Line2D([], [], marker="o", color=GREY, markeredgecolor=INK, linestyle="none", markersize=7)
    entries: list[tuple[Any, str]] = [(dot, "a run of the target")]
    return [*entries, (Line2D([], [], **cross), "one that diverged")] if lost else entries


def _finish(axes: Any, tuned: Tuned, entries: Sequence[tuple[Any, str]], rivals: Sequence[Rival]) -> None:
    recipe, work = tuned.run.recipe, tuned.target.workload
    rate, batch = recipe.learning_rate.number, recipe.batch_tokens.number
    (star,) = axes.plot(batch, rate, **STAR)
    axes.set_xlabel("batch (tokens per step)")
    axes.set_ylabel("peak learning rate")
    axes.set_title(f"The target: N = {humanize(work.params)}, D = {humanize(work.tokens)}", loc="left", fontsize=10)
    said = (star, f"the recipe: {humanize(batch)} tokens, {rate:.3g}")
    legend_below(axes, [said, *entries, *rival_entries(rivals)], 0.42)
