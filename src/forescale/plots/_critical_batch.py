"""The critical batch: iso-loss hyperbolas in steps and tokens, and critical batches over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plots._parts import BLUE, GREY, INK, SMALL, VERMILION, legend_below, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.noise.critical import Branched, CriticalBatch, Hyperbola

POINTS = 200  # of a curve
COLORS = "cividis"  # light to dark in one order for every kind of colour vision
SPAN = (0.0, 0.86)  # of the colours: the lightest are lost on white
ROOM = 1.25  # beyond the runs, as a factor
MARKERS = ("o", "s", "D", "v", "P", "X", "h", "p")  # one a group
OPEN = 30.0  # how far an interval without an upper end is drawn, as a factor


def critical_batch_figure(found: CriticalBatch) -> Axes:
    """Left: tokens over optimizer steps to each loss, with its hyperbola. Right: critical batches over D_min, and their law.

    The thick part of a hyperbola is the 80 % interval of the critical batch, the star the critical batch itself, at twice
    the fewest steps and twice the fewest tokens. An open end on the right is a bound from below only. Returns the left axes.
    """
    if not found.hyperbolas:
        raise ForescaleError("a picture of critical batches needs one; got none.")
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(10.4, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    colors = _colors(len(found.hyperbolas))
    marks = _marks(found)
    for hyperbola, color in zip(found.hyperbolas, colors, strict=True):
        _draw_hyperbola(left, hyperbola, color, marks[hyperbola.group])
        _draw_critical(right, hyperbola, color, marks[hyperbola.group])
    _draw_law(right, found)
    _set_left(left, found)
    _set_right(right, found)
    figure.suptitle(f"{found.source}: tokens and steps to one loss", x=0.01, ha="left", fontsize=10, parse_math=False)
    figure.legend(*_entries(found, colors), loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return left


def _colors(count: int) -> list[Any]:
    from matplotlib import colormaps

    shades = colormaps[COLORS].reversed()
    low, high = 1 - SPAN[1], 1 - SPAN[0]
    return [shades(low + (high - low) * (i / max(count - 1, 1))) for i in range(count)]


def _marks(found: CriticalBatch) -> dict[str, str]:
    groups = list(dict.fromkeys(h.group for h in found.hyperbolas))
    return {group: MARKERS[i % len(MARKERS)] for i, group in enumerate(groups)}


def _draw_hyperbola(axes: Any, h: Hyperbola, color: Any, marker: str) -> None:
    import numpy as np

    batches = [point.batch_tokens for point in h.points]
    axes.plot([p.steps for p in h.points], [p.tokens for p in h.points], marker, color=color, markersize=4, zorder=3)
    if h.critical_batch is None:
        return
    least, most = min(batches) / ROOM, max(batches) * ROOM
    span: Any = np.geomspace(least, most, POINTS)
    axes.plot(h.tokens_at(span) / span, h.tokens_at(span), color=color, linewidth=1.3, zorder=2)
    low, high = max(h.low, least), min(h.high or most, most)
    if low < high:
        sure: Any = np.geomspace(low, high, POINTS)
        axes.plot(h.tokens_at(sure) / sure, h.tokens_at(sure), color=color, linewidth=6, alpha=0.35, zorder=1)
    if h.critical_batch <= most:
        axes.plot(2 * h.min_steps, 2 * h.min_tokens, zorder=4, **_star(color))


def _star(color: Any) -> dict[str, Any]:
    return {
        "marker": "*", "markersize": 11, "linestyle": "none", "color": color, "markeredgecolor": INK,
        "markeredgewidth": 0.7,
    }  # fmt: skip


def _draw_critical(axes: Any, h: Hyperbola, color: Any, marker: str) -> None:
    if h.min_tokens <= 0:
        return
    top = h.high or OPEN * max(h.low, 1.0)
    if h.low > 0:
        axes.plot([h.min_tokens] * 2, [h.low, top], color=color, linewidth=1.6, zorder=2)
    if h.high is None:
        axes.plot(h.min_tokens, top, marker="^", markersize=5, color=color, zorder=3)
    elif h.critical_batch is not None:
        face = color if h.known else "white"
        axes.plot(h.min_tokens, h.critical_batch, marker, color=color, markerfacecolor=face, markersize=6, zorder=3)


def _draw_law(axes: Any, found: CriticalBatch) -> None:
    import numpy as np

    if found.law is None:
        return
    low, high = found.law.range["tokens"]
    tokens: Any = np.geomspace(low / ROOM, high * ROOM, POINTS)
    formula = found.law.formula("critical_batch_tokens")
    batch: Any = found.law.predict("critical_batch_tokens", tokens=tokens)
    axes.plot(tokens, batch, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_title(f"B_crit = {formula.text()}", fontsize=SMALL + 1, loc="right", parse_math=False)


def _set_left(axes: Any, found: CriticalBatch) -> None:
    points = [point for h in found.hyperbolas for point in h.points]
    steps, tokens = [p.steps for p in points], [p.tokens for p in points]
    log_axis(axes.xaxis, humanize, widened(min(steps), max(steps), 1.5), 6)
    log_axis(axes.yaxis, humanize, widened(min(tokens), max(tokens), 1.5), 7)
    _finish(axes, "optimizer steps to the loss", "tokens to the loss")


def _set_right(axes: Any, found: CriticalBatch) -> None:
    tokens = [h.min_tokens for h in found.hyperbolas if h.min_tokens > 0]
    ends = [b for h in found.hyperbolas for b in (h.low, h.high or OPEN * h.low, h.critical_batch or 0) if b > 0]
    if tokens and ends:
        log_axis(axes.xaxis, humanize, widened(min(tokens), max(tokens), 1.6), 5)
        log_axis(axes.yaxis, humanize, widened(min(ends), max(ends), 1.5), 7)
    _finish(axes, "D_min, tokens at a small batch", "critical batch (tokens)")


def _finish(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=SMALL + 1)
    axes.set_ylabel(y, fontsize=SMALL + 1)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)


def _entries(found: CriticalBatch, colors: Sequence[Any]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    texts: list[str] = []
    marks = _marks(found)
    for h, color in zip(found.hyperbolas, colors, strict=True):
        handles.append(Line2D([], [], color=color, linewidth=2, marker=marks[h.group], markersize=5))
        texts.append(f"{h.group}, loss {h.loss:.4g}: {_interval(h)}")
    handles += [Line2D([], [], **_star(GREY)), Line2D([], [], color=GREY, linewidth=6, alpha=0.35)]
    texts += ["critical batch: twice the fewest steps and tokens", "its 80 % interval"]
    if not all(h.known for h in found.hyperbolas):
        handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none"))
        texts.append("open: these runs do not determine it")
    if found.law is not None:
        handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3))))
        texts.append("law through the critical batches")
    return handles, texts


def _interval(h: Hyperbola) -> str:
    if h.critical_batch is None or h.high is None:
        return f"above {humanize(h.low, 2)}"
    return f"{humanize(h.critical_batch, 2)} ({humanize(h.low, 2)} to {humanize(h.high, 2)})"


def branches_chart(found: Sequence[Branched], axes: Axes | None = None) -> Axes:
    """Critical batch (tokens) at each checkpoint of a run (tokens seen), with its 80 % interval and the run's own batch.

    The pale bar reaches from the critical batch to the next larger batch that was tried, which was worse: between the two
    nothing was tried. A triangle is a bound from below: the largest batch tried was not worse.
    """
    if not found:
        raise ForescaleError("a picture of branches needs a checkpoint; got none.")
    drawn: Any = new_axes(6.8, 4.4) if axes is None else axes
    tokens = [each.checkpoint_tokens for each in found]
    for each in found:
        _draw_branched(drawn, each)
    drawn.plot(tokens, [each.critical_batch for each in found], color=BLUE, linewidth=0.9, zorder=2)
    drawn.plot(
        tokens, [each.batch_tokens for each in found], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1
    )
    ends = [b for e in found for b in (e.batch_tokens, e.critical_batch, e.next_batch, e.low, e.high) if b]
    log_axis(drawn.xaxis, humanize, widened(min(tokens), max(tokens), 1.4), 6)
    log_axis(drawn.yaxis, humanize, widened(min(ends), max(ends), 1.5), 7)
    _finish(drawn, "tokens seen at the checkpoint", "batch (tokens)")
    legend_below(drawn, _branch_entries(), 0.5)
    return drawn


def _draw_branched(axes: Any, each: Branched) -> None:
    x = each.checkpoint_tokens
    if each.next_batch is not None:
        axes.plot([x, x], [each.critical_batch, each.next_batch], zorder=1, **_bracket())
    if each.low is not None and each.high is not None:
        axes.plot([x, x], [each.low, each.high], color=VERMILION, linewidth=1.8, marker="_", markersize=12, zorder=5)
    marker = "o" if each.next_batch is not None else "^"
    axes.plot(x, each.critical_batch, marker, color=BLUE, markersize=7, zorder=4)


def _bracket() -> dict[str, Any]:
    return {"color": BLUE, "linewidth": 7, "alpha": 0.25, "solid_capstyle": "butt"}


def _branch_entries() -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    return [
        (Line2D([], [], color=BLUE, marker="o", linewidth=0.9), "critical batch: the largest that is not worse"),
        (Line2D([], [], color=BLUE, marker="^", linestyle="none"), "at least this: no larger batch was tried"),
        (Line2D([], [], **_bracket()), "up to the next batch tried, which is worse"),
        (Line2D([], [], color=VERMILION, linewidth=1.8), "80 % interval over the noise of the losses"),
        (Line2D([], [], color=GREY, linestyle=(0, (4, 3))), "batch of the run"),
    ]
