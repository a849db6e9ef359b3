"""A run that is watched: its loss, where it will end, and its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREEN, GREY, INK, PALE, SMALL, VERMILION
from forescale.quantities import humanize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.curves.watch import EndLoss, Watched

SMOOTH = 100  # records that a drawn mean is taken over, at most a fiftieth of them
COLOURS = {
    "loss spike": VERMILION,
    "data change": BLUE,
    "plateau": INK,
    "gradient-norm growth": "#CC79A7",
    "diverged": VERMILION,
}


def watch_figure(found: Watched) -> Axes:
    """The loss over the steps, the end with its 50 and 90 % intervals, and a line for each event; below, the gradient norm."""
    from matplotlib.figure import Figure

    log = found.log
    figure: Any = Figure(figsize=(7.2, 4.6 if log.norm is None else 5.6), layout="constrained")
    if log.norm is None:
        above = below = figure.add_subplot()
    else:
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        _norms(below, log.step, log.norm)
    _line(above, log.step, log.loss, GREEN)
    above.set(ylabel="loss (nats per token)")
    if found.final_loss is not None:
        _end(above, found.final_loss, float(log.step[-1]))
    _events(above, found)
    _limits(above, found)
    below.set_xlabel(log.unit)
    below.xaxis.set_major_formatter(_step_text)
    for axes in {above, below}:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL, which="both")
    above.legend(fontsize=SMALL, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return above


def _step_text(value: float, _place: int | None) -> str:
    return humanize(value) if value > 0 else "0"


def _norm_text(value: float, _place: int | None) -> str:
    return f"{value:g}"


def _line(axes: Any, step: Any, values: Any, colour: str) -> None:
    """Every record in grey, and a running median."""
    import numpy as np

    finite = np.isfinite(values)
    step, values = step[finite], values[finite]
    width = max(1, min(SMOOTH, len(values) // 50))
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    axes.plot(step, values, color=GREY, linewidth=0.5, alpha=0.5)
    axes.plot(step[width - 1 :], middle, color=colour, linewidth=1.5)


def _norms(axes: Any, step: Any, norm: Any) -> None:
    """Gradient norms on a logarithmic axis; those of 0 or without a number are left out."""
    import numpy as np
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(yscale="log", ylabel="gradient norm")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(_norm_text)
    axes.yaxis.set_minor_formatter(NullFormatter())
    _line(axes, step, np.where(norm > 0, norm, np.nan), BLUE)


def _end(axes: Any, end: EndLoss, now: float) -> None:
    axes.axvspan(now, end.step, color=PALE, alpha=0.5, linewidth=0)
    bars: Any = {"fmt": "none", "color": INK}
    down, up = (
        [[end.value - end.low], [end.high - end.value]],
        [[end.value - end.half_low], [end.half_high - end.value]],
    )
    axes.errorbar([end.step], [end.value], yerr=down, linewidth=1.2, capsize=4, **bars)
    axes.errorbar([end.step], [end.value], yerr=up, linewidth=4, **bars)
    axes.plot([end.step], [end.value], "o", color=INK, markersize=6, label=f"end: {end.value:.4g} (50 and 90 %)")


def _events(axes: Any, found: Watched) -> None:
    named: set[str] = set()
    for event in found.events:
        label = None if event.kind in named else event.kind
        style = ":" if event.kind in ("plateau", "gradient-norm growth") else "--"
        axes.axvline(event.step, color=COLOURS[event.kind], linestyle=style, linewidth=1.2, label=label)
        named.add(event.kind)


def _limits(axes: Any, found: Watched) -> None:
    """The loss without its first steps, the end's interval inside."""
    import numpy as np

    log, end = found.log, found.final_loss
    finite = np.isfinite(log.loss)
    later = log.loss[finite & (log.step >= 0.05 * (log.total or log.step[-1]))]
    shown = later if len(later) > 8 else log.loss[finite]
    low, high = float(np.quantile(shown, 0.002)), float(np.quantile(shown, 0.998))
    if end is not None:
        low, high = min(low, end.low), max(high, end.high)
    room = 0.05 * (high - low) or 0.05
    axes.set(ylim=(low - room, high + room), xlim=(0, 1.02 * (log.total or float(log.step[-1]))))
