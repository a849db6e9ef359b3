"""What the two fits of a hyperparameter law print alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forescale.fit import Score
    from forescale.laws import Law

READINGS = ("nearest", "linear", "smooth")


def print_heading(console: Console, law: Law, read: Mapping[str, Any], cells: int) -> None:
    """What was read, and the law."""
    console.print(
        f"{read['source']}: {read['read']} runs read, {read['diverged']} diverged, {cells} cell{'' if cells == 1 else 's'}",
        style="bold",
        markup=False,
    )
    for quantity, formula in law.predicts.items():
        console.print(f"{quantity} = {formula.text()}", markup=False)


def plain_table(title: str) -> Table:
    """An empty table."""
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def symbol(name: str) -> str:
    """`exponent of N`; a coefficient by its logarithm, in which its interval is stated."""
    from forescale.laws import SYMBOLS

    return f"exponent of {SYMBOLS[name]}" if name in SYMBOLS else name


def held_out_table(held_out: Sequence[Score], references: Sequence[Score], chosen_because: str) -> Table:
    """Loss gaps on cells left out, then those of references; `chosen_because` begins with the chosen one's name."""
    table = plain_table("Loss gap in per cent on cells left out, mean over cells")
    table.add_column("protocol")
    for name in READINGS:
        table.add_column(name, justify="right")
    table.add_column("optimum of a cell")
    for group in (held_out, references):
        for score in group:
            table.add_row(*_row(score, chosen=chosen_because.startswith(f"{score.name} (")))
        table.add_section()
    return table


def _row(score: Score, *, chosen: bool) -> Iterable[str]:
    yield f"> {score.name}" if chosen else f"  {score.name}"
    for name in READINGS:
        yield f"{100 * getattr(score, name).mean:.3f}" if score.gaps else "-"
    yield score.title
