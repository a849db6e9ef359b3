"""What the checks of a parametrization found: activations over a size, and loss over the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import GREY, INK, SMALL, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.check import CoordCheck, Curve, TransferCheck

COLUMNS = 3
TOP = 1.25  # of the losses that are drawn, over the lowest


def coords_chart(check: CoordCheck) -> Axes:
    """Mean |x| of every kind over the size, a line a step from light to dark; returns the first panel."""
    from matplotlib.figure import Figure

    panels = [c for c in check.curves if any(any(row) for row in c.values)]
    rows = math.ceil(len(panels) / COLUMNS)
    figure: Any = Figure(figsize=(3.3 * COLUMNS, 2.7 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for place, curve in zip(axes, panels, strict=False):
        _coordinate(place, check, curve)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    figure.suptitle(check.says, fontsize=SMALL + 2, x=0.01, ha="left", wrap=True)
    _steps_bar(figure, axes[: len(panels)].tolist(), check.steps)
    return axes[0]


def _coordinate(axes: Any, check: CoordCheck, curve: Curve) -> None:
    colors = _shades(check.steps + 1)
    for step, row in enumerate(curve.values):
        if all(math.isfinite(v) and v > 0 for v in row):
            axes.plot(check.sizes, row, "o-", color=colors[step], markersize=3, linewidth=1.1)
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    if high / low < 10:  # a flat curve should look flat
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / math.sqrt(10), middle * math.sqrt(10))
    _ticks(axes, check.sizes)
    axes.set_title(
        f"{curve.kind}: {curve.verdict}, {check.axis}$^{{{curve.slope:+.2f}}}$",
        fontsize=SMALL + 1,
        color=INK if curve.verdict == "flat" else VERMILION,
    )
    axes.set_xlabel(check.axis, fontsize=SMALL)
    axes.set_ylabel("mean |x|", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL, which="both")
    axes.grid(color="#e6e6e6", linewidth=0.6)


def _ticks(axes: Any, sizes: Sequence[float]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{size:g}" for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())


def _shades(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["cividis_r"](0.15 + 0.85 * i / max(count - 1, 1)) for i in range(count)]


def _steps_bar(figure: Any, axes: Sequence[Any], steps: int) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(_shades(steps + 1))
    bar = figure.colorbar(ScalarMappable(Normalize(-0.5, steps + 0.5), shades), ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("optimizer steps taken", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def transfer_chart(check: TransferCheck, axes: Axes | None = None) -> Axes:
    """Held-out loss over the learning rate, a line a size, the seeds as dots, every minimum marked."""
    from forescale.plots._parts import new_axes

    drawn: Any = new_axes(6.4, 4.4) if axes is None else axes
    shades = _shades(len(check.minima))
    lowest = min(m.loss for m in check.minima)
    for color, minimum in zip(shades, check.minima, strict=True):
        _losses(drawn, check, minimum.size, color)
        drawn.plot(
            [minimum.learning_rate], [minimum.loss], "*", color=color, markeredgecolor=INK, markersize=14, zorder=6
        )
    drawn.axvline(check.minima[0].learning_rate, color=GREY, linestyle=":", linewidth=1.1)
    drawn.set_xscale("log", base=2)
    shown = [p.loss for p in check.points if math.isfinite(p.loss) and p.loss < TOP * lowest]
    if shown:  # none where every run diverged
        drawn.set_ylim(lowest * 0.99, max(shown) * 1.01)
    drawn.set_xlabel("learning rate of the recipe (peak, before the parametrization's factors)", fontsize=SMALL + 1)
    drawn.set_ylabel("held-out loss (nats per token)", fontsize=SMALL + 1)
    title = f"{check.scheme} over {check.axis}: drift {check.drift:+.2f} octaves, {check.verdict}"
    drawn.set_title(title, fontsize=SMALL + 2, loc="left", color=VERMILION if check.verdict == "fail" else INK)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(color="#e6e6e6", linewidth=0.6)
    drawn.legend(fontsize=SMALL, frameon=False)
    return drawn


def _losses(axes: Any, check: TransferCheck, size: float, color: Any) -> None:
    by_rate: dict[float, list[float]] = {}
    for point in check.points:
        if point.size == size and math.isfinite(point.loss):
            by_rate.setdefault(point.learning_rate, []).append(point.loss)
    rates = sorted(by_rate)
    axes.plot(
        rates, [sum(by_rate[r]) / len(by_rate[r]) for r in rates], "-", color=color, label=f"{check.axis} {size:g}"
    )
    for rate in rates:
        axes.plot([rate] * len(by_rate[rate]), by_rate[rate], ".", color=color, markersize=3.5)
