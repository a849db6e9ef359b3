"""Scores of laws: a row a law, a dot a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from forescale.plots._parts import BLUE, GREEN, INK, SMALL, VERMILION, legend_below, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forescale.fit import FittedLaw, Score, Scores
    from forescale.fit.calibrate import Calibration

    Row = tuple[float, Score, str]  # its height, what it shows, its colour

LINEAR = 0.1  # per cent: the axis is linear up to here and logarithmic beyond
TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
ROW, LINE, FRAME = 0.25, 0.16, 1.9  # inches: of a row, of a note, and of everything else
WIDTH = 84  # characters of a note's line
RIGHT: Any = {"ha": "right", "va": "center", "fontsize": SMALL, "annotation_clip": False}


def score_chart(scores: Scores, axes: Axes | None = None) -> Axes:
    """The loss gap (per cent, smooth reading) of every law in every cell, laws by ascending mean, the best on top.

    Constant settings and the floor come below in colours of their own. An open dot is a lower bound: the choice lies
    outside the swept box. What a law was given stands behind its name.
    """
    laws = sorted(scores.laws, key=lambda s: s.smooth.mean)
    rows = _rows(((laws, BLUE), (scores.baselines, VERMILION), ((scores.floor,), GREEN)))
    drawn: Any = new_axes(8.6, ROW * len(rows) + FRAME + LINE * len(_notes(scores))) if axes is None else axes
    _draw_rows(drawn, rows, "smooth", _notes(scores))
    drawn.set_title(_title(scores), loc="left", fontsize=10, parse_math=False)
    _draw_legend(drawn, scores)
    return drawn


def held_out_chart(fitted: FittedLaw, axes: Axes | None = None) -> Axes:
    """The loss gap (per cent, linear reading) of every protocol in every cell that it had not seen, the best on top.

    The choice between protocols, published Step Law and the best constant setting in hindsight come below.
    """
    choice = () if fitted.choice is None else (fitted.choice,)
    groups = (
        (fitted.held_out, BLUE, "a protocol, one cell left out (> chosen)"),
        (choice, GREEN, "the choice between protocols, likewise"),
        (fitted.references, VERMILION, "published, or in hindsight"),
    )
    return _linear_chart(groups, fitted.chosen, axes)


def calibration_chart(found: Calibration, axes: Axes | None = None) -> Axes:
    """The loss gap (per cent, linear reading) in every cell: of the law calibrated without it, on top, and of others."""
    groups = (
        (found.held_out[:1], BLUE, "calibrated, one cell left out"),
        (found.held_out[1:], GREEN, "fitted to the runs alone, likewise"),
        (found.references, VERMILION, "published, or in hindsight"),
    )
    return _linear_chart(groups, "calibrated", axes)


def _linear_chart(groups: Iterable[tuple[Sequence[Score], str, str]], chosen: str, axes: Axes | None) -> Axes:
    """Groups of scores with colour and legend; the chosen one is marked."""
    shown = [([s for s in group if s.gaps], color, text) for group, color, text in groups]
    rows = _rows((members, color) for members, color, _ in shown if members)
    drawn: Any = new_axes(7.8, ROW * len(rows) + FRAME - 0.3) if axes is None else axes
    _draw_rows(drawn, rows, "linear", ())
    names = [f"> {_name(s)}" if s.name == chosen else _name(s) for _, s, _ in rows]
    drawn.set_yticks([height for height, _, _ in rows], names, parse_math=False)
    entries = [(color, text) for members, color, text in shown if members]
    _legend(drawn, entries, [each for _, each, _ in rows], 0.45)
    return drawn


def _rows(groups: Iterable[tuple[Sequence[Score], str]]) -> list[Row]:
    """Each score with its height and colour; half a row between groups."""
    rows: list[Row] = []
    for members, color in groups:
        top = rows[-1][0] + 1.5 if rows else 0.0
        rows += [(top + i, each, color) for i, each in enumerate(members)]
    return rows


def _draw_rows(axes: Any, rows: Sequence[Row], reading: str, notes: Sequence[str]) -> None:
    for height, each, color in rows:
        _draw_row(axes, height, each, color, reading)
    _set_axes(axes, rows, reading, notes)


def _draw_row(axes: Any, height: float, each: Score, color: str, reading: str) -> None:
    axes.axhline(height, color="#dddddd", linewidth=0.7, zorder=1)
    for clipped, face in ((False, color), (True, "white")):
        gaps = [100 * getattr(gap, reading) for gap in each.gaps if gap.clipped is clipped]
        axes.plot(gaps, [height] * len(gaps), **_dot(color, face), zorder=2)
    mean = 100 * getattr(each, reading).mean
    axes.plot(mean, height, **_mean(), zorder=3)
    text = f"{'≥ ' if each.clipped else ''}{mean:.3f}"
    axes.annotate(text, (1, height), (46, 0), xycoords=("axes fraction", "data"), textcoords="offset points", **RIGHT)


def _dot(color: str, face: str) -> dict[str, Any]:
    alpha = 0.55 if face == color else 1.0
    return {
        "marker": "o",
        "linestyle": "none",
        "markersize": 5,
        "color": color,
        "markerfacecolor": face,
        "alpha": alpha,
    }


def _mean() -> dict[str, Any]:
    return {"marker": "|", "linestyle": "none", "markersize": 15, "markeredgewidth": 2.2, "color": INK}


def _set_axes(axes: Any, rows: Sequence[Row], reading: str, notes: Sequence[str]) -> None:
    from matplotlib.ticker import NullLocator

    gaps = [100 * getattr(gap, reading) for _, each, _ in rows for gap in each.gaps]
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.7)
    axes.set_xlim(min(-0.02, 1.3 * min(gaps)), 1.25 * max(*gaps, LINEAR))
    low, high = axes.get_xlim()
    ticks = [t for t in (*(-t for t in reversed(TICKS)), 0, *TICKS) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([height for height, _, _ in rows], [_name(each) for _, each, _ in rows], parse_math=False)
    axes.set_ylim(rows[-1][0] + 0.7, -0.7)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="x", color="#eeeeee", linewidth=0.7)
    axes.set_axisbelow(True)
    unit = f"loss above the cell's lowest (%, {reading} reading; linear up to {LINEAR:g} %, then logarithmic)"
    axes.set_xlabel("\n".join((unit, *notes)), loc="left", fontsize=SMALL, parse_math=False)
    axes.annotate("mean (%)", (1, 1), (46, 4), xycoords="axes fraction", textcoords="offset points", **RIGHT)


def _title(scores: Scores) -> str:
    cells = f"{scores.cells} cell{'s' if scores.cells != 1 else ''}"
    return "\n".join(wrap(f"{scores.runs['source']}, {cells}: what each law's choice would have cost", WIDTH - 14))


def _notes(scores: Scores) -> list[str]:
    """Lines on the laws that were fitted on such runs."""
    return [line for each in scores.laws if each.held_in for line in wrap(each.held_in, WIDTH)]


def _name(each: Score) -> str:
    """The name, and what sets this row apart from the others."""
    marks = [f"given {' and '.join(each.given)}".replace("learning rate", "lr")] if each.given else []
    marks += ["in hindsight"] if "hindsight" in each.title else []
    marks += ["unverified"] if each.evidence == "unverified" else []
    name = each.name.removeprefix("constant ")
    return f"{name} ({', '.join(marks)})" if marks else name


def _draw_legend(axes: Any, scores: Scores) -> None:
    entries = [
        (BLUE, "a law, one cell"),
        (VERMILION, "one constant setting for all cells"),
        (GREEN, "floor: the cell's own smooth minimum"),
    ]
    shown = (*scores.laws, *scores.baselines, scores.floor)
    _legend(axes, entries, shown, 0.45 + LINE * len(_notes(scores)))


def _legend(axes: Any, colors: Sequence[tuple[str, str]], shown: Sequence[Score], inches: float) -> None:
    from matplotlib.lines import Line2D

    entries: list[tuple[Any, str]] = [(Line2D([], [], **_dot(color, color)), text) for color, text in colors]
    entries.append((Line2D([], [], **_mean()), "mean"))
    if any(each.clipped for each in shown):
        entries.append((Line2D([], [], **_dot(INK, "white")), "lower bound: outside the swept box"))
    legend_below(axes, entries, inches)
