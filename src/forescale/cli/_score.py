"""`forescale score`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forescale.fit import CellGap, Score, Scores

SHORT = {"best batch": "B", "best learning rate": "lr", "lowest loss": "L"}
CELL_COLUMNS = ("params", "tokens", "learning rate", "batch", "nearest", "linear", "smooth", "clipped", "out of range")
LEAST_WIDTH = 120  # where the output is a file or a pipe


def score(
    runs: Path,
    *,
    law: list[str] | None = None,
    columns: str | None = None,
    seq_len: int | None = None,
    cells: bool = False,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Which published law would have been right on a sweep you have: the loss each law's choice would have cost.

    For every (params, tokens) cell of the sweep, the gap between the loss at the law's learning rate and batch and
    the lowest loss, in per cent, read three ways: at the nearest run, by linear interpolation, on a smooth surface.

    Parameters
    ----------
    runs
        One row per finished run: .csv or .tsv (also .gz), .parquet, .jsonl. Needs parameters, tokens, peak learning
        rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, ...).
    law
        A catalog name (see `forescale laws`) or a TOML file, repeatable; default: every verified law.
    columns
        Our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    cells
        Also show each law's choice and gap in every cell.
    json
        Print JSON (schema_version 1).
    picture
        Also draw every law's gap in every cell: a .png, .svg or .pdf file.
    """
    from forescale.fit import score as score_laws
    from forescale.runs import parse_columns, read_runs

    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    table = read_runs(runs, columns=parse_columns(columns) if columns is not None else None, seq_len=seq_len)
    scores = score_laws(table, law)
    if json:
        from json import dumps

        print(dumps(scores.to_json(cells=cells), indent=2, allow_nan=False))
    else:
        _print(scores, cells=cells)
    if picture is not None:
        from forescale.plots import save, score_chart

        save(score_chart(scores), picture)
        print(f"forescale: wrote {picture}", file=sys.stderr)


def _print(scores: Scores, *, cells: bool) -> None:
    console = _console()
    console.print(f"[bold]{_headline(scores)}[/bold]")
    console.print(_table(scores))
    if cells:
        for each in (*scores.laws, *scores.baselines, scores.floor):
            console.print(_cell_table(each))
    for line in _footnotes(scores):
        console.print(line, markup=False)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if sys.stdout.isatty() else Console(highlight=False, width=max(console.width, LEAST_WIDTH))


def _headline(scores: Scores) -> str:
    from rich.markup import escape

    read = scores.runs
    return (
        f"{escape(read['source'])}: {read['read']} runs read, {read['missing_loss']} without a loss, "
        f"{read['diverged']} diverged, {scores.cells} cell{'s' if scores.cells != 1 else ''}. Loss gap in per cent"
    )


def _table(scores: Scores) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("\nlaw", overflow="fold")
    for reading in ("nearest", "linear", "smooth"):
        for name in (f"{reading}\nmean", "\nmedian", "\nmax"):
            table.add_column(name, justify="right")
    for name in ("\nclipped", "out of\nrange"):
        table.add_column(name, justify="right")
    table.add_column("\ngiven")
    for group in (scores.laws, scores.baselines, (scores.floor,)):
        _add_rows(table, group)
    return table


def _add_rows(table: Table, group: Sequence[Score]) -> None:
    for each in group:
        count = len(each.gaps)
        table.add_row(
            _name(each),
            *_numbers(each),
            f"{each.clipped}/{count}",
            f"{each.outside}/{count}" if each.evidence else "",
            ", ".join(SHORT[given] for given in each.given),
        )
    table.add_section()


def _name(each: Score) -> str:
    """The name as the table shows it; constant settings are told by what they set."""
    mark = " *" if "hindsight" in each.title else " (unverified)" if each.evidence == "unverified" else ""
    return each.name.removeprefix("constant ") + mark


def _numbers(each: Score) -> Iterable[str]:
    bound = "≥" if each.clipped else ""
    for summary in (each.nearest, each.linear, each.smooth):
        yield f"{bound}{100 * summary.mean:.3f}"
        yield f"{100 * summary.median:.3f}"
        yield f"{100 * summary.max:.2f}"


def _cell_table(each: Score) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=f"{each.name}: {each.title}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in CELL_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for gap in each.gaps:
        table.add_row(*_cell_row(gap))
    return table


def _cell_row(gap: CellGap) -> Iterable[str]:
    from forescale.quantities import humanize

    active = f" ({humanize(gap.active_params)} active)" if gap.active_params < gap.params else ""
    return (
        humanize(gap.params) + active,
        humanize(gap.tokens),
        f"{gap.learning_rate:.3g}",
        humanize(gap.batch_tokens),
        *(f"{100 * value:.3f}" for value in (gap.nearest, gap.linear, gap.smooth)),
        "yes" if gap.clipped else "",
        ", ".join(f"{axis} x{factor:.3g}" for axis, factor in gap.outside.items()),
    )


def _footnotes(scores: Scores) -> Iterable[str]:
    """What the table's marks mean, where they occur, then what the library has to say."""
    shown = (*scores.laws, *scores.baselines, scores.floor)
    if any(each.clipped for each in shown):
        yield "≥ a lower bound: some choices lie outside the swept box (clipped) and were read at its edge."
    if any(each.given for each in scores.laws):
        yield (
            "given: what a law does not predict and was handed: B the best swept batch, lr the best swept learning "
            "rate, L the cell's lowest loss. Such a law does not compare with one that predicts both."
        )
    yield (
        "out of range: cells beyond what the law was measured on. lr=, batch=: one constant setting for every cell "
        "(* the sweep's best, in hindsight). floor: each cell's own smooth minimum."
    )
    for name, reason in scores.not_applicable.items():
        yield f"not scored: {name}: {reason}"
    for each in scores.laws:
        if each.missing:
            yield f"{each.name} has no value in {each.missing}"
    for note in scores.notes:
        yield f"{note}."
