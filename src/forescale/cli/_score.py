"""`forescale score`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from forescale.cli._options import File, Flag, OptionalFile, OptionalWhole, Texts
from forescale.cli._outputs import check_destinations, write
from forescale.cli._threads import use_one_thread
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from forescale.cli._console import Column
    from forescale.fit import CellGap, Score, Scores

SHORT = {"best batch": "B", "best learning rate": "lr", "lowest loss": "L"}
LEAST_WIDTH = 120  # where the output is a file or a pipe


def score(
    runs: File,
    *,
    law: Texts = None,
    surface: OptionalFile = None,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    seq_len: OptionalWhole = None,
    keep_unfinished: Flag = False,
    cells: Flag = False,
    json: Flag = False,
    picture: OptionalFile = None,
) -> None:
    """Which published law would have been right on a sweep you have: the loss each law's choice would have cost.

    For every (params, tokens) cell of the sweep, the gap between the loss at the law's learning rate and batch and
    the lowest loss, in per cent, read three ways: at the nearest run, by linear interpolation, on a smooth surface.

    Parameters
    ----------
    runs
        A table with one row per finished run (.csv, .tsv, also .gz; .parquet, .jsonl, .json), or the store of a tool: a
        W&B export or run folders, an MLflow store, TensorBoard event files, an Optuna study (file::study where it holds
        several), a Ray Tune experiment, trainer_state.json files of Hugging Face. Needs parameters, tokens, peak
        learning rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, config.lr, ...).
    law
        A catalog name (see `forescale laws`) or a TOML file, repeatable; default: every verified law.
    surface
        Score a surface from this .toml file (forescale fit --surface) instead of laws: R2 and error of its losses, the gap
        of its choice, how many runs its intervals hold, which diverged runs it foretells.
    columns
        Our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    set
        What is alike in every run and not recorded, by our name: params=124M,tokens=2.6B.
    keep_unfinished
        Also take runs that crashed, were killed or pruned, or still run.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    cells
        Also show each law's choice and gap in every cell.
    json
        Print JSON (schema_version 1).
    picture
        Also draw every law's gap in every cell: a .png, .svg or .pdf file.
    """
    use_one_thread()
    from forescale.cli._own_runs import read

    if surface is not None:
        _refuse_with_surface(law, picture)
    from forescale.fit import score as score_laws

    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)  # refuses another suffix before any work is done
    check_destinations({"--picture": picture}, (runs,))
    table = read(runs, columns, set, seq_len=seq_len, keep_unfinished=keep_unfinished)
    if surface is not None:
        from forescale.cli._surface import score_and_print

        score_and_print(table, surface, json=json, cells=cells)
        return
    scores = score_laws(table, law)
    drawn = None if picture is None else _draw(scores, picture)
    if json:
        from json import dumps

        print(dumps(scores.to_json(cells=cells), indent=2, allow_nan=False))
    else:
        _print(scores, cells=cells)
    if drawn is not None and picture is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written
        print(f"forescale: {write(picture, drawn)} {picture}", file=sys.stderr)


def _refuse_with_surface(law: Sequence[str] | None, picture: Path | None) -> None:
    given = {"--law": law is not None, "--picture": picture is not None}
    if unused := [option for option, there in given.items() if there]:
        raise ForescaleError(
            f"--surface takes no {' and no '.join(unused)}: leave it out, or score laws without --surface."
        )


def _draw(scores: Scores, picture: Path) -> bytes:
    from forescale.plots import picture_bytes, score_chart

    return picture_bytes(score_chart(scores), picture)


def _print(scores: Scores, *, cells: bool) -> None:
    from forescale.cli._console import left_out, make_console

    console = make_console(LEAST_WIDTH)
    console.print(_headline(scores), markup=False, style="bold")
    dropped = _print_table(console, scores)
    if cells:
        for each in (*scores.laws, *scores.baselines, scores.floor):
            dropped += _print_cells(console, each)
    for line in (left_out(tuple(dict.fromkeys(dropped))), *_footnotes(scores)):
        if line:
            console.print(line, markup=False)


def _headline(scores: Scores) -> str:
    read = scores.runs
    return (
        f"{read['source']}: {read['read']} runs read, {read['missing_loss']} without a loss, "
        f"{read['diverged']} diverged, {scores.cells} cell{'s' if scores.cells != 1 else ''}. Loss gap in per cent"
    )


def _print_table(console: Console, scores: Scores) -> tuple[str, ...]:
    from rich import box

    from forescale.cli._console import make_table

    rows: list[list[str] | None] = []
    for group in (scores.laws, scores.baselines, (scores.floor,)):
        rows += [*(_row(each) for each in group), None]
    table, dropped = make_table(console, _columns(), rows[:-1], box=box.SIMPLE_HEAD, collapse_padding=True)
    console.print(table)
    return dropped


def _columns() -> list[Column]:
    """Two lines of headings: the reading, and what is made of it; a narrow terminal does without the last ones."""
    from forescale.cli._console import Column

    columns = [Column(name="\nlaw")]
    for i, reading in enumerate(("nearest", "linear", "smooth")):
        named = ((f"{reading}\nmean", 2 - i), ("\nmedian", 9 - i), ("\nmax", 6 - i))
        columns += [Column(name=name, justify="right", drop=drop) for name, drop in named]
    counts = [Column(name=name, justify="right", drop=drop) for name, drop in (("\nclipped", 0), ("out of\nrange", 3))]
    return [*columns, *counts, Column(name="\ngiven")]


def _row(each: Score) -> list[str]:
    count = len(each.gaps)
    outside = "" if not each.evidence else f"{each.outside}/{count}" if each.states_range else "–"
    given = ", ".join(SHORT[given] for given in each.given)
    return [_name(each), *_numbers(each), f"{each.clipped}/{count}", outside, given]


def _name(each: Score) -> str:
    """The name as the table shows it; constant settings are told by what they set."""
    mark = " *" if "hindsight" in each.title else " (unverified)" if each.evidence == "unverified" else ""
    return each.name.removeprefix("constant ") + mark + (" †" if each.misfit else "")


def _numbers(each: Score) -> Iterable[str]:
    bound = "≥" if each.clipped else ""
    for summary in (each.nearest, each.linear, each.smooth):
        yield f"{bound}{100 * summary.mean:.3f}"
        yield f"{100 * summary.median:.3f}"
        yield f"{100 * summary.max:.2f}"


def _print_cells(console: Console, each: Score) -> tuple[str, ...]:
    from rich import box
    from rich.text import Text

    from forescale.cli._console import Column, make_table

    drops = {"nearest": 3, "linear": 2, "clipped": 1, "out of range": 4}
    names = ("params", "tokens", "learning rate", "batch", "nearest", "linear", "smooth", "clipped", "out of range")
    columns = [Column(name=name, justify="right", drop=drops.get(name, 0)) for name in names]
    rows = [tuple(_cell_row(gap)) for gap in each.gaps]
    table, dropped = make_table(console, columns, rows, title=Text(f"{each.name}: {each.title}"), box=box.SIMPLE_HEAD)
    console.print(table)
    return dropped


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
    yield (
        "linear: the triangles of a regular grid are not unique, so this reading moves with the order of the rows, in "
        "about its second digit."
    )
    for misfit in dict.fromkeys(each.misfit for each in scores.laws if each.misfit):
        yield f"† {misfit}."
    if any(each.given for each in scores.laws):
        yield (
            "given: what a law does not predict and was handed: B the best swept batch, lr the best swept learning "
            "rate, L the cell's lowest loss. Such a law does not compare with one that predicts both."
        )
    yield (
        "out of range: cells beyond what the law was measured on (– where it states no range). "
        "lr=, batch=: one constant setting for every cell "
        "(* the sweep's best, in hindsight). floor: each cell's own smooth minimum."
    )
    for name, reason in scores.not_applicable.items():
        yield f"not scored: {name}: {reason}"
    for each in scores.laws:
        if each.missing:
            yield f"{each.name} has no value in {each.missing}"
    for note in scores.notes:
        yield f"{note}."
