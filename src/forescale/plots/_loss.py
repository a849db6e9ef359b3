"""A fitted loss law: against the runs, and its constants against what else the runs allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.laws import SYMBOLS
from forescale.plots._parts import BLUE, INK, SMALL, VERMILION, legend_below, log_axis, new_axes, power_text, widened
from forescale.quantities import humanize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from forescale.fit.loss import LossEvidence, LossFit

DOT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4, "alpha": 0.55, "markeredgewidth": 0.8}
NAMES = {
    "params": "parameters N",
    "active_params": "active parameters N_active",
    "nonzero_params": "non-zero parameters N_nz",
    "tokens": "tokens D",
    "unique_tokens": "unique tokens",
    "compute": "compute C (FLOPs)",
    "sparsity": "sparsity S",
}
ROW, FRAME = 0.28, 1.35  # inches: of a constant, and of everything else
PUBLISHED = "D^vsPXh"  # markers of the published laws, in turn


def loss_fit_chart(evidence: LossEvidence, axes: Axes | None = None) -> Axes:
    """Predicted against measured loss (nats per token), a dot a run; on the line they agree."""
    drawn: Any = new_axes(4.3, 3.9) if axes is None else axes
    both = [*evidence.measured, *evidence.predicted]
    span = widened(min(both), max(both), 1.02)
    for axis in (drawn.xaxis, drawn.yaxis):
        log_axis(axis, "{:g}".format, span, 7)
    drawn.plot(span, span, color=INK, linewidth=0.8, zorder=1)
    _draw_runs(drawn, evidence, evidence.measured, evidence.predicted)
    drawn.set_xlabel("measured loss (nats per token)", fontsize=SMALL)
    drawn.set_ylabel("predicted loss (nats per token)", fontsize=SMALL)
    _draw_legend(drawn)
    return drawn


def loss_residual_chart(evidence: LossEvidence, variable: str, axes: Axes | None = None) -> Axes:
    """Predicted over measured loss, less 1, in per cent, against one of the law's inputs or `compute`."""
    drawn: Any = new_axes(4.3, 3.2) if axes is None else axes
    x = evidence.inputs[variable]
    if variable != "sparsity":
        text = power_text if variable == "compute" else humanize
        log_axis(drawn.xaxis, text, widened(float(x.min()), float(x.max()), 1.5), 6)
    drawn.axhline(0, color=INK, linewidth=0.8, zorder=1)
    _draw_runs(drawn, evidence, x, 100 * evidence.residual)
    drawn.set_xlabel(NAMES.get(variable, SYMBOLS.get(variable, variable)), fontsize=SMALL)
    drawn.set_ylabel("predicted over measured loss − 1 (%)", fontsize=SMALL)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(axis="y", color="#eeeeee", linewidth=0.7)
    drawn.set_axisbelow(True)
    _draw_legend(drawn)
    return drawn


def loss_constants_chart(fit: LossFit, published: Mapping[str, Mapping[str, float]], axes: Axes | None = None) -> Axes:
    """Each constant's 80 % interval and what it may be within 5 % of the objective, as multiples of the fitted value.

    `published` maps laws of the same form to their constants. A constant or an end of another sign is not drawn.
    """
    names = list(fit.parameters)
    drawn: Any = new_axes(6.4, FRAME + ROW * (len(names) + len(published) / 4)) if axes is None else axes
    ends: list[float] = [0.8, 1.25]
    for height, name in enumerate(names):
        ends += _draw_constant(drawn, height, fit, name)
        for marker, constants in zip(_markers(len(published)), published.values(), strict=True):
            ends += _draw_published(drawn, height, constants[name] / fit.parameters[name].value, marker)
    span = widened(max(min(ends), 1e-3), min(max(ends), 1e3), 1.15)
    log_axis(drawn.xaxis, "{:g}".format, span, 9)
    drawn.axvline(1, color=INK, linewidth=0.8, zorder=1)
    drawn.set_yticks(range(len(names)), names, parse_math=False)
    drawn.set_ylim(len(names) - 0.4, -0.6)
    drawn.set_xlabel("constant, as a multiple of its fitted value", fontsize=SMALL)
    drawn.tick_params(labelsize=SMALL)
    drawn.grid(axis="x", color="#eeeeee", linewidth=0.7)
    drawn.set_axisbelow(True)
    _draw_constants_legend(drawn, list(published))
    return drawn


def _draw_runs(axes: Any, evidence: LossEvidence, x: Any, y: Any) -> None:
    for held_out in (False, True):
        chosen = evidence.held_out == held_out
        axes.plot(x[chosen], y[chosen], **_dot(held_out), zorder=3 if held_out else 2)


def _dot(held_out: bool) -> dict[str, Any]:
    color = VERMILION if held_out else BLUE
    return DOT | {"color": color, "markerfacecolor": "white" if held_out else color}


def _draw_legend(axes: Any) -> None:
    from matplotlib.lines import Line2D

    entries: list[tuple[Any, str]] = [
        (Line2D([], [], **_dot(False)), "a run"),
        (Line2D([], [], **_dot(True)), "one of the most expensive fifth"),
    ]
    legend_below(axes, entries, 0.4)


def _draw_constant(axes: Any, height: int, fit: LossFit, name: str) -> list[float]:
    """Bars for one constant; returns the ends that were drawn."""
    value = fit.parameters[name].value
    spread, interval = fit.spread[name], (fit.parameters[name].low, fit.parameters[name].high)
    ends: list[float] = []
    for (low, high), style in ((spread, _spread()), (interval, _interval())):
        if value != 0 and low / value > 0 and high / value > 0:
            axes.plot([low / value, high / value], [height, height], **style)
            ends += [low / value, high / value]
    axes.plot(1, height, marker="*", markersize=11, color=VERMILION, linestyle="none", zorder=4)
    return ends


def _draw_published(axes: Any, height: int, ratio: float, marker: str) -> list[float]:
    if not ratio > 0:
        return []
    axes.plot(ratio, height, color=INK, **_rival(marker))
    return [ratio]


def _markers(count: int) -> list[str]:
    return [PUBLISHED[i % len(PUBLISHED)] for i in range(count)]


def _rival(marker: str) -> dict[str, Any]:
    return {"marker": marker, "markersize": 5, "markerfacecolor": "white", "linestyle": "none", "zorder": 3}


def _spread() -> dict[str, Any]:
    return {"color": BLUE, "linewidth": 7, "alpha": 0.3, "solid_capstyle": "butt", "zorder": 2}


def _interval() -> dict[str, Any]:
    return {"color": VERMILION, "linewidth": 1.8, "solid_capstyle": "butt", "zorder": 3}


def _draw_constants_legend(axes: Any, published: list[str]) -> None:
    from matplotlib.lines import Line2D

    entries: list[tuple[Any, str]] = [
        (Line2D([], [], marker="*", markersize=9, **_interval()), "fitted value and 80 % interval"),
        (Line2D([], [], **_spread()), "within 5 % of the objective"),
    ]
    rivals = zip(_markers(len(published)), published, strict=True)
    entries += [(Line2D([], [], color=INK, **_rival(marker)), name) for marker, name in rivals]
    legend_below(axes, entries, 0.45)
