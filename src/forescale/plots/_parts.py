"""What the figures share: colours, sizes, legends below, labels in the margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib's stubs leave keyword arguments untyped, hence the `Any` of the functions that draw.
BLUE, GREEN, VERMILION, INK = "#0072B2", "#009E73", "#D55E00", "#000000"  # Okabe and Ito's
SMALL = 8  # points of type
LEGEND: Any = {"loc": "upper left", "ncols": 2, "fontsize": SMALL, "frameon": False, "borderpad": 0}
LEADER: Any = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "alpha": 0.6, "relpos": (0, 0.5), "shrinkB": 3}
LABEL: Any = {"va": "center", "fontsize": SMALL, "annotation_clip": False, "parse_math": False}


def new_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of this size in inches; its layout makes room for what stands around them."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot()


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
