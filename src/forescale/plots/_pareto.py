"""A front of two objectives: what is on it, how surely, and what it beats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREY, INK, SMALL, label_in_margin, legend_below, log_axis, new_axes, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.sweep.pareto import Front, Point

WIDE = 4.0  # highest over lowest value from which the metric's axis is logarithmic
SURE = 0.5  # chance below which a point of the front is drawn hollow
TOP = 1.6  # of the front's extent in loss: beaten points above are left out of the frame, and counted
Describe = Callable[[Mapping[str, Any]], str]


def pareto_chart(front: Front, axes: Axes | None = None, *, describe: Describe | None = None) -> Axes:
    """Loss over the second metric: the front as steps, what it beats shaded, points of the front named beside it.

    Points that are beaten are pale, and those of the front hollow where noise leaves them less than an even chance.
    `describe` makes the text of a point's settings. Axes of your own want a figure of layout "constrained".
    """
    drawn: Any = new_axes(8.2, 4.8) if axes is None else axes
    members = front.members
    lowest, highest, hidden = _frame(drawn, front)
    _area(drawn, front, highest)
    rest = [p for p in front.points if p.measured and p not in members and p.loss <= highest]
    (beaten,) = drawn.plot(
        [p.value for p in rest], [p.loss for p in rest], "o", color="#b9b9b9", markersize=4, zorder=2
    )
    line = _steps(drawn, front, highest)
    sure, unsure = _dots(drawn, front)
    drawn.set_ylim(lowest, highest)
    label_in_margin(drawn, [(_text(front, p, describe or _described), (p.value, p.loss)) for p in members])
    beyond = f" ({hidden} more above the frame)" if hidden else ""
    entries = [(line, "front"), (sure, "on it with a chance of at least 50 %"), (beaten, f"beaten{beyond}")]
    entries += [(unsure, "on it with less")] if unsure is not None else []
    legend_below(drawn, entries, 0.5)
    return drawn


def _frame(axes: Any, front: Front) -> tuple[float, float, int]:
    """Axes and their texts; lowest and highest loss of the frame, and how many points lie above."""
    measured = [p for p in front.points if p.measured]
    values = [*(p.value for p in measured), front.reference[1]]
    losses = [p.loss for p in front.members]
    extent = max(max(losses) - min(losses), 0.01 * max(losses))
    highest = max(min(losses) + TOP * extent, front.reference[0])
    _value_axis(axes, min(values), max(values))
    axes.set_xlabel(
        front.metric.label + (", more is better" if front.metric.higher_is_better else ""), fontsize=SMALL + 1
    )
    axes.set_ylabel("loss (nats per token)", fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(_title(front), fontsize=SMALL + 1, loc="left")
    return min(losses) - 0.12 * extent, highest, sum(p.loss > highest for p in measured)


def _value_axis(axes: Any, low: float, high: float) -> None:
    if low > 0 and high / low >= WIDE:
        log_axis(axes.xaxis, humanize, widened(low, high, (high / low) ** 0.05), 6)
        return
    room = 0.05 * ((high - low) or abs(high) or 1.0)
    axes.set_xlim(low - room, high + room)
    if high >= 10_000:
        axes.xaxis.set_major_formatter(_tick)


def _tick(value: float, _place: int) -> str:
    return humanize(value)


def _title(front: Front) -> str:
    unit = f"nats x {front.metric.unit}" if front.metric.unit else "nats"
    loss, value = front.reference
    return (
        f"area beaten: {front.hypervolume:.3g} {unit}, up to the square at {loss:.3g} and {humanize(value)}\n"
        f"per cent: chance that no other setting beats it (a run's loss varies by {front.noise:.2%})"
    )


def _corners(front: Front, highest: float) -> tuple[list[float], list[float]]:
    """The border of what the front beats, from the worst value to the best."""
    xs, ys = [_edge(front)], [front.members[0].loss]
    for point, after in zip(front.members, (*front.members[1:], None), strict=True):
        xs += [point.value, point.value]
        ys += [point.loss, highest if after is None else after.loss]
    return xs, ys


def _edge(front: Front) -> float:
    return max([front.reference[1], *(p.value for p in front.members)], key=front.metric.cost)


def _area(axes: Any, front: Front, highest: float) -> None:
    loss = front.reference[0]
    xs, ys = _corners(front, max(loss, highest))
    axes.fill_between(xs, [min(y, loss) for y in ys], loss, color=BLUE, alpha=0.09, linewidth=0, zorder=1)
    axes.plot([front.reference[1]], [loss], "s", color=GREY, markersize=5, markerfacecolor="none", zorder=3)


def _steps(axes: Any, front: Front, highest: float) -> Any:
    xs, ys = _corners(front, highest)
    return axes.plot(xs, ys, "-", color=BLUE, linewidth=1.6, zorder=3)[0]


def _dots(axes: Any, front: Front) -> tuple[Any, Any]:
    """The front's points, filled and hollow; None for the hollow ones where there are none."""
    style: Any = {"color": BLUE, "markersize": 7, "zorder": 4, "linestyle": "none", "marker": "o"}
    likely = [p for p in front.members if front.chance(p) >= SURE]
    doubtful = [p for p in front.members if front.chance(p) < SURE]
    (sure,) = axes.plot(*_at(likely), **style, markeredgecolor=INK, markeredgewidth=0.6)
    if not doubtful:
        return sure, None
    return sure, axes.plot(*_at(doubtful), **style, markerfacecolor="white", markeredgewidth=1.4)[0]


def _at(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.value for p in points], [p.loss for p in points]


def _text(front: Front, point: Point, describe: Describe) -> str:
    return f"{describe(point.settings)}  {front.chance(point):.0%}".strip()


def _described(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{n} {v:.3g}" if isinstance(v, float) and not math.isinf(v) else f"{n} {v}" for n, v in settings.items()
    )
