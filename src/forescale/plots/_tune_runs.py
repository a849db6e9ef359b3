"""Runs of a tuning: their loss over learning rate, of the proxies a picture a cell, and of the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.plots._parts import BLUE, INK, SMALL, VERMILION, legend_below, log_axis, new_axes, widened
from forescale.quantities import humanize
from forescale.runs._runs import DIVERGED, SAME_TOKENS
from forescale.workload import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from forescale.fit.calibrate import Estimate
    from forescale.sweep.store import Entry
    from forescale.sweep.tune import Try, Tuned

WIDTH, HEIGHT = 3.3, 2.9  # inches of a panel
BAND = "#dcebf5"
MARKERS = "os^DvPX*"  # of the batches, from the smallest
AT_TOP = 0.95  # of the axes' height: where runs without a place on the axis stand
MARGIN = 1.5
STAR: Any = {"marker": "*", "color": VERMILION, "markeredgecolor": INK, "linestyle": "none"}
HALO: Any = {
    "marker": "D",
    "markerfacecolor": "none",
    "markeredgecolor": VERMILION,
    "markeredgewidth": 1.3,
    "linestyle": "none",
}
RING: Any = {
    "marker": "o",
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.3,
    "linestyle": "none",
}


def tuning_runs_charts(tuned: Tuned) -> tuple[Axes, ...]:
    """The proxies' losses (nats per token) over learning rate, a picture a cell, from the smallest.

    A colour and marker a batch. Crosses at the top diverged. The band is the 80 % interval of the best learning rate at
    that cell by the laws as calibrated in the end, its line their estimate.
    """
    return tuple(_draw_cell(new_axes(WIDTH, HEIGHT), tuned, entries) for entries in _cells(tuned))


def tuning_runs_figure(tuned: Tuned, figure: Figure | None = None, *, columns: int = 3) -> Figure:
    """The pictures of `tuning_runs_charts` in one figure, of yours or a new one."""
    from matplotlib.figure import Figure as New

    cells = list(_cells(tuned))
    across = max(min(columns, len(cells)), 1)
    down = max(math.ceil(len(cells) / across), 1)
    made: Any = New(figsize=(WIDTH * across, HEIGHT * down), layout="constrained") if figure is None else figure
    grid = made.add_gridspec(down, across)
    for i, entries in enumerate(cells):
        _draw_cell(made.add_subplot(grid[i // across, i % across]), tuned, entries)
    return made


def tuning_target_chart(tuned: Tuned, axes: Axes | None = None) -> Axes:
    """The target's losses over learning rate: the prediction (a star), the runs around it, the lowest ringed.

    A diamond stands around the run of published Step Law's setting. The band is the 80 % interval of the best learning rate
    as it was predicted. Raises `ForescaleError` for a tuning whose target was not run around the prediction.
    """
    from matplotlib.lines import Line2D

    if (verified := tuned.verified) is None:
        raise ForescaleError("a picture of the target's runs needs some; this tuning has none: tune with verify_runs.")
    drawn: Any = new_axes(4.8, 3.7) if axes is None else axes
    batches = _draw_losses(drawn, (verified.predicted, *verified.others), tuned.calibration.after.learning_rate)
    signs = [(verified.predicted, STAR, 17, "the prediction"), (verified.lowest, RING, 15, "the lowest loss")]
    signs += [(verified.published, HALO, 13, "Step Law's setting")] if verified.published is not None else []
    entries: list[tuple[Any, str]] = []
    for each, look, size, name in signs:
        drawn.plot(*_place(drawn, each), **look, markersize=size, zorder=5)
        entries.append((Line2D([], [], **look, markersize=10), name))
    drawn.set_title(_gap_title(verified.gap), loc="left", fontsize=SMALL + 1)
    legend_below(drawn, [*entries, *batches], 0.5, 3)
    return drawn


def _gap_title(gap: float) -> str:
    return f"the target's true gap: {100 * gap:.3g} %" if math.isfinite(gap) else "the prediction diverged"


def _cells(tuned: Tuned) -> Iterator[list[Entry]]:
    """Proxies of the same parameters and, but for rounding to whole steps, tokens."""
    entries = [entry for each in tuned.rounds for entry in each.entries]
    entries.sort(key=lambda entry: (*_size(entry), entry.job.row["tokens"]))
    for _, alike in groupby(entries, key=_size):
        cell: list[Entry] = []
        for entry in alike:
            if cell and entry.job.row["tokens"] > cell[0].job.row["tokens"] * (1 + SAME_TOKENS):
                yield cell
                cell = []
            cell.append(entry)
        yield cell


def _size(entry: Entry) -> tuple[float, float]:
    return entry.job.row["params"], entry.job.row["active_params"]


def _draw_cell(axes: Any, tuned: Tuned, entries: Sequence[Entry]) -> Any:
    from forescale.fit.calibrate._calibrate import foresight

    row = entries[0].job.row
    at = Workload(**{name: row[name] for name in ("params", "active_params", "tokens", "seq_len")})
    tries = [made for entry in entries if (made := _tried(entry)) is not None]
    batches = _draw_losses(axes, tries, foresight(tuned.calibration.belief, at).learning_rate)
    axes.set_title(_title(row, entries, tries), loc="left", fontsize=SMALL, linespacing=1.3)
    legend_below(axes, batches, 0.42)
    return axes


def _tried(entry: Entry) -> Try | None:
    """A proxy as a run of the target is written; None for one without a loss."""
    from forescale.sweep.tune import Try

    if entry.outcome is None or entry.state not in ("done", "diverged"):
        return None
    row, loss = entry.job.row, entry.outcome.loss if entry.state == "done" else math.inf
    return Try(learning_rate=row["learning_rate"], batch_tokens=row["batch_tokens"], loss=loss, seed=row["seed"])


def _title(row: Any, entries: Sequence[Entry], tries: Sequence[Try]) -> str:
    diverged, without = sum(math.isinf(each.loss) for each in tries), len(entries) - len(tries)
    said = ["1 run" if len(entries) == 1 else f"{len(entries)} runs"]
    said += [f"{diverged} diverged"] if diverged else []
    said += [f"{without} without a loss"] if without else []
    return f"N = {humanize(row['params'])}, D = {humanize(row['tokens'])}\n{', '.join(said)}"


def _draw_losses(axes: Any, tries: Sequence[Try], estimate: Estimate) -> list[tuple[Any, str]]:
    """The runs over the band, a colour and marker a batch; what those mean."""
    from matplotlib.lines import Line2D

    _set_axes(axes, tries, estimate)
    batches = sorted({each.batch_tokens for each in tries})
    entries: list[tuple[Any, str]] = []
    for i, batch in enumerate(batches):
        look: Any = {"color": _color(i, len(batches)), "marker": MARKERS[i % len(MARKERS)], "linestyle": "none"}
        alike = sorted((t for t in tries if t.batch_tokens == batch), key=lambda t: t.learning_rate)
        trained = [t for t in alike if _on_axis(axes, t.loss)]
        axes.plot([t.learning_rate for t in trained], [t.loss for t in trained], color=look["color"], linewidth=0.7)
        for each in alike:
            axes.plot(*_place(axes, each), **(look | _beyond(axes, each)), markersize=5.5, zorder=3, clip_on=False)
        entries.append((Line2D([], [], **look, markersize=5.5), f"batch {humanize(batch)}"))
    line = Line2D([], [], color=BLUE, linewidth=1, linestyle="dashed")
    return [*entries, (line, "estimate")]


def _set_axes(axes: Any, tries: Sequence[Try], estimate: Estimate) -> None:
    rates = [estimate.low, estimate.high, *(each.learning_rate for each in tries)]
    losses = [each.loss for each in tries if math.isfinite(each.loss)] or [1.0]
    # Beyond, a run counts as diverged for what is learnt.
    low, top = min(losses), min(max(losses), DIVERGED * min(losses))
    room = max(top - low, 0.004 * low)
    log_axis(axes.xaxis, "{:.3g}".format, widened(min(rates), max(rates), MARGIN))
    axes.set_ylim(low - 0.1 * room, top + 0.22 * room)
    axes.axvspan(estimate.low, estimate.high, color=BAND, zorder=0)
    axes.axvline(estimate.value, color=BLUE, linewidth=1, linestyle="dashed", zorder=1)
    axes.set_xlabel("peak learning rate", fontsize=SMALL)
    axes.set_ylabel("loss (nats per token)", fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)


def _color(i: int, count: int) -> Any:
    """Viridis without its yellow, which white swallows."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.82 * i / max(count - 1, 1))


def _on_axis(axes: Any, loss: float) -> bool:
    return loss <= axes.get_ylim()[1]


def _place(axes: Any, each: Try) -> tuple[float, float]:
    low, high = axes.get_ylim()
    return each.learning_rate, each.loss if _on_axis(axes, each.loss) else low + AT_TOP * (high - low)


def _beyond(axes: Any, each: Try) -> dict[str, Any]:
    """A cross for a run that diverged, an open marker for a loss above the axis."""
    if math.isinf(each.loss):
        return {"marker": "x"}
    return {} if _on_axis(axes, each.loss) else {"markerfacecolor": "none"}
