"""Print what a watch saw: a small curve and sentences for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table

if TYPE_CHECKING:
    from forescale.curves.watch import EndLoss, Event, Log, Watched

POINTS = 76  # of the small curve
COLUMNS = (
    Column(name="step", justify="right"),
    Column(name="seen at", justify="right", drop=2),
    Column(name="event"),
    Column(name="score", justify="right"),
    Column(name="", fold=20, drop=1),
)
EXPLAINED = "score: 0 is one false alarm in 10,000 records of this strength, 1 in 100,000, 2 in a million."


def print_json(found: Watched, *, one_line: bool = False) -> None:
    """All of it as JSON on standard output."""
    print(json.dumps(found.to_json(), indent=None if one_line else 2, allow_nan=False))


def print_watched(found: Watched) -> None:
    """The curve so far, where it will end, the events and the notes."""
    console, log = make_console(), found.log
    share = "" if log.share is None else f" of {log.total:,.0f} ({log.share:.0%})"
    console.print(Text(f"{log.name}: {log.unit} {log.step[-1]:,.0f}{share}", style="bold"))
    if drawn := _curve(log):
        console.print(Text(drawn))
    for name, end in (("loss", found.final_loss), ("held-out loss", found.final_val_loss)):
        if end is not None:
            console.print(Text.assemble((f"{name} at {log.unit} {end.step:,.0f}: ", "bold"), _said(end)))
    if found.final_loss is not None:
        console.print(Text(f"{found.final_loss.said}.", style="dim"))
    if found.events:
        table, dropped = make_table(console, COLUMNS, [_row(event) for event in found.events])
        console.print(table)
        console.print(Text(f"{EXPLAINED} {left_out(dropped)}".strip(), style="dim"))
    else:
        console.print(Text("no event: nothing so far that a healthy run does not do."))
    for note in found.notes:
        console.print(Text.assemble(("! ", "yellow"), f"{note}."))


def _said(end: EndLoss) -> str:
    return f"{end.value:.4g}, 90 %: {end.low:.4g} to {end.high:.4g}, 50 %: {end.half_low:.4g} to {end.half_high:.4g}"


def _row(event: Event) -> tuple[str, ...]:
    return (f"{event.step:,.0f}", f"{event.seen:,.0f}", event.kind, f"{event.score:.1f}", event.said)


def _curve(log: Log) -> str:
    """Medians of the losses in equal parts of the steps, drawn; the first tenth is left out where there is enough."""
    import numpy as np

    from forescale.plots import run_curve

    finite = np.isfinite(log.loss)
    step, loss = log.step[finite], log.loss[finite]
    if len(step) < 4:
        return ""
    later = step >= step[-1] * 0.05
    step, loss = (step[later], loss[later]) if later.sum() > 8 else (step, loss)
    groups = np.array_split(np.arange(len(step)), min(POINTS, len(step)))
    points = ([float(step[g].mean()) for g in groups], [float(np.median(loss[g])) for g in groups])
    return run_curve({"loss": points}, height=10).replace("tokens", f"{log.unit:<6}")
