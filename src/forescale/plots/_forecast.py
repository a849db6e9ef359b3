"""Forecasts of series: medians, intervals and a few sample paths after the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plots._parts import BLUE, GREY, INK, SMALL, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = (0.4, 0.25, 0.13)  # of the bands, from the narrowest on


def forecast_figure(series: Sequence[Mapping[str, Any]], *, dates: bool = True) -> Figure:
    """A panel a series: name, past (times, values), future (times), median, bands (per cent, low, high) and paths.

    Times are microseconds since 1970, or numbers where `dates` is false.
    """
    if not series:
        raise ForescaleError("a picture of forecasts needs a series; got none.")
    from matplotlib.figure import Figure

    columns = min(len(series), 2)
    rows = ceil(len(series) / columns)
    figure: Any = Figure(figsize=(5.6 * columns + 0.4, 2.7 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, each in zip(grid.flat, series, strict=False):
        _draw(axes, each, dates=dates)
    for axes in list(grid.flat)[len(series) :]:
        axes.set_axis_off()
    figure.legend(*_entries(series[0]), loc="outside lower center", ncols=6, fontsize=SMALL, frameon=False)
    return figure


def _draw(axes: Any, each: Mapping[str, Any], *, dates: bool) -> None:
    times, values = each["past"]
    ahead = each["future"]
    if dates:
        times, ahead = times.astype("datetime64[us]"), ahead.astype("datetime64[us]")
    axes.plot(times, values, color=INK, linewidth=0.9)
    for (_, low, high), alpha in zip(each["bands"], ALPHA, strict=False):
        axes.fill_between(ahead, low, high, color=BLUE, alpha=alpha, linewidth=0)
    for path in each["paths"]:
        axes.plot(ahead, path, color=GREY, linewidth=0.5, alpha=0.7)
    axes.plot(ahead, each["median"], color=VERMILION, linewidth=1.3)
    axes.set_title(each["name"], fontsize=SMALL + 1, loc="left", parse_math=False)
    axes.tick_params(labelsize=SMALL)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if dates:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator: Any = AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.xaxis.get_offset_text().set_fontsize(SMALL)


def _entries(each: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = [
        Line2D([], [], color=INK, linewidth=0.9),
        Line2D([], [], color=VERMILION, linewidth=1.3),
        *(Patch(color=BLUE, alpha=alpha, linewidth=0) for _, alpha in zip(each["bands"], ALPHA, strict=False)),
        Line2D([], [], color=GREY, linewidth=0.5),
    ]
    return lines, ["past", "median", *(f"{level:g} % interval" for level, _, _ in each["bands"]), "sample paths"]
