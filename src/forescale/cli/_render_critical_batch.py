"""Print critical batches: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.quantities import humanize

if TYPE_CHECKING:
    from forescale.noise.critical import Branched, CriticalBatch, Hyperbola

HYPERBOLAS = (
    Column(name="group", fold=12),
    Column(name="loss", justify="right"),
    Column(name="batches", justify="right", drop=3),
    Column(name="D_min", justify="right"),
    Column(name="S_min", justify="right", drop=2),
    Column(name="critical batch", justify="right"),
    Column(name="80 %"),
    Column(name="scatter", justify="right", drop=1),
)
BRANCHES = (
    Column(name="checkpoint", justify="right"),
    Column(name="run's batch", justify="right"),
    Column(name="factor", justify="right", drop=1),
    Column(name="critical batch", justify="right"),
    Column(name="80 %"),
    Column(name="next tried, worse", justify="right"),
)
EXPLAINED = (
    "tokens to a loss: D = D_min (1 + B / critical batch); at the critical batch a run needs twice D_min and twice S_min. "
    "Batches and D_min in tokens, S_min in steps."
)


def print_json(found: CriticalBatch) -> None:
    """All that was found, as JSON on standard output."""
    print(json.dumps(found.to_json(), indent=2, allow_nan=False))


def print_branches_json(found: Sequence[Branched]) -> None:
    """The checkpoints, as JSON on standard output."""
    from forescale.noise.critical import doublings

    content = {"checkpoints": [each.to_json() for each in found], "doublings": list(doublings(found))}
    print(json.dumps({"schema_version": 1, **content}, indent=2, allow_nan=False))


def print_runs(found: CriticalBatch) -> None:
    """A line for each group and loss, the law through them, and what the runs cannot tell."""
    console = make_console()
    console.print(Text(f"{found.source}: critical batches", style="bold"))
    table, dropped = make_table(console, HYPERBOLAS, [tuple(_row(h)) for h in found.hyperbolas])
    console.print(table)
    if dropped:
        console.print(Text(left_out(dropped), style="dim"))
    console.print(Text(EXPLAINED, style="dim"))
    if found.law is not None:
        formula = found.law.formula("critical_batch_tokens")
        error = formula.covariance[1][1] ** 0.5
        said = f"{formula.text()} tokens, D = D_min; the exponent has a standard error of {error:.2g}"
        console.print(Text.assemble(("law ", "bold"), said))
    for note in found.notes:
        console.print(Text.assemble(("! ", "yellow"), f"{note}."))


def _row(h: Hyperbola) -> Iterator[str]:
    yield h.group
    yield f"{h.loss:.4g}"
    yield str(len(h.points))
    yield humanize(h.min_tokens)
    yield humanize(h.min_steps)
    yield "unknown" if h.critical_batch is None or h.high is None else humanize(h.critical_batch)
    yield f"above {humanize(h.low)}" if h.high is None else _span(h.low, h.high)
    yield f"{100 * h.rms:.1f} %"


def print_branches(found: Sequence[Branched]) -> None:
    """A line for each checkpoint, and what its branches cannot tell."""
    console = make_console()
    table, dropped = make_table(console, BRANCHES, [tuple(_checkpoint(each)) for each in found])
    console.print(table)
    if dropped:
        console.print(Text(left_out(dropped), style="dim"))
    console.print(Text.assemble(("doublings ", "bold"), _doublings(found)))
    for each in found:
        if each.note:
            console.print(Text.assemble(("! ", "yellow"), f"{humanize(each.checkpoint_tokens)} tokens: {each.note}."))


def _doublings(found: Sequence[Branched]) -> str:
    from forescale.noise.critical import doublings

    at = doublings(found)
    if not at:
        return "none: the critical batch is nowhere twice the run's batch"
    where = ",".join(humanize(tokens) for tokens in at)
    return f"{where}: where the critical batch is twice the batch; --batch-schedule double:SEQUENCES:{where}"


def _checkpoint(each: Branched) -> Iterator[str]:
    yield humanize(each.checkpoint_tokens)
    yield humanize(each.batch_tokens)
    yield f"{each.factor:g}"
    yield f"{'at least ' if each.next_batch is None else ''}{humanize(each.critical_batch)}"
    yield "" if each.low is None or each.high is None else _span(each.low, each.high)
    yield "none" if each.next_batch is None else humanize(each.next_batch)


def _span(low: float, high: float) -> str:
    return humanize(low) if low == high else f"{humanize(low)} to {humanize(high)}"
