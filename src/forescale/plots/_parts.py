"""What the figures share: colours, sizes, legends below, labels in the margin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib's stubs leave keyword arguments untyped, hence the `Any` of the functions that draw.
BLUE, GREEN, VERMILION, INK = "#0072B2", "#009E73", "#D55E00", "#000000"  # Okabe and Ito's
GREY, PALE = "#767676", "#e4e4e4"
SMALL = 8  # points of type
ROOM = 0.85  # between ticks, of what as many as allowed would have if they stood evenly
LEGEND: Any = {"loc": "upper left", "ncols": 2, "fontsize": SMALL, "frameon": False, "borderpad": 0}
LEADER: Any = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "alpha": 0.6, "relpos": (0, 0.5), "shrinkB": 3}
LABEL: Any = {"va": "center", "fontsize": SMALL, "annotation_clip": False, "parse_math": False}


def new_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of this size in inches; its layout makes room for what stands around them."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot()


def fixed_axes(width: float, height: float, frame: tuple[float, float, float, float]) -> Axes:
    """Axes alone in a figure, `frame` inches from its left, bottom, right and top: quicker than a layout that measures."""
    from matplotlib.figure import Figure

    left, bottom, right, top = frame
    figure: Any = Figure(figsize=(width, height))
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))


def log_axis(axis: Any, text: Callable[[float], str], span: tuple[float, float], most: int = 5) -> None:
    """A logarithmic axis over `span` with at most `most` round ticks, as many as that allows."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = span
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": span})
    ticks = _round_ticks(low, high, most)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([text(t) for t in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelsize=SMALL)


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    """Where a span holds too few round numbers of the usual kind, evenly spaced ones."""
    steps = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
    tries = (round_numbers(low, high, s) for s in steps) if high >= 4 * low else _even_ticks(low, high, most)
    room = ROOM * log10(high / low) / most
    fits = (t for t in tries if 2 <= len(t) <= most and all(log10(b / a) >= room for a, b in pairwise(t)))
    powers = round_numbers(low, high, (1,))
    return next(fits, powers[:: max(ceil(len(powers) / most), 1)])


def _even_ticks(low: float, high: float, most: int) -> Iterator[list[float]]:
    from matplotlib.ticker import MaxNLocator

    for count in range(most, 0, -1):
        even = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        yield [float(tick) for tick in even if low <= tick <= high]


def power_text(value: float) -> str:
    """A number of FLOPs as people write it: 1e21, 3e21."""
    return f"{value:.3g}".replace("e+", "e")


def round_numbers(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Every step times a power of ten between `low` and `high`."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    numbers = (float(f"{step}e{power}") for power in powers for step in steps)
    return [number for number in numbers if low <= number <= high]


def widened(low: float, high: float, factor: float) -> tuple[float, float]:
    """A span a factor wider on both sides."""
    return low / factor, high * factor


def legend_below(axes: Any, entries: Sequence[tuple[Any, str]], inches: float, columns: int = 2) -> None:
    """A legend of (handle, text) entries under the axes, `inches` below them."""
    from matplotlib.transforms import ScaledTranslation

    below = axes.transAxes + ScaledTranslation(0, -inches, axes.figure.dpi_scale_trans)
    axes.legend(*zip(*entries, strict=True), bbox_to_anchor=(0, 0), bbox_transform=below, **LEGEND | {"ncols": columns})


def label_in_margin(axes: Any, labels: Sequence[tuple[str, tuple[float, float] | None]]) -> None:
    """Texts to the right of the axes, each level with its point as far as there is room, and a thin line to the point."""
    to_share = axes.transData + axes.transAxes.inverted()
    heights = [0.0 if point is None else float(to_share.transform(point)[1]) for _, point in labels]
    order = sorted(range(len(labels)), key=heights.__getitem__)
    inches = axes.get_window_extent().height / axes.figure.dpi
    places = spread([heights[i] for i in order], 1.6 * SMALL / 72 / inches)
    for i, height in zip(order, places, strict=True):
        text, point = labels[i]
        if point is None:
            axes.annotate(text, (1.03, height), xycoords="axes fraction", **LABEL)
        else:
            axes.annotate(text, point, (1.03, height), textcoords="axes fraction", arrowprops=LEADER, **LABEL)


def spread(wanted: Sequence[float], least: float) -> list[float]:
    """Ascending places at least `least` apart, near those wanted and none above 1."""
    up = _pushed(wanted, least)
    down = [-place for place in reversed(_pushed([-place for place in reversed(wanted)], least))]
    middle = [(a + b) / 2 for a, b in zip(up, down, strict=True)]  # as far apart as the two that it lies between
    return [min(place, 1 - least * above) for above, place in zip(reversed(range(len(middle))), middle, strict=True)]


def _pushed(wanted: Sequence[float], least: float) -> list[float]:
    """Every place moved up as far as the one before it demands."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + least) if places else place)
    return places
