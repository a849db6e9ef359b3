"""`forescale fit`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._options import Flag, OptionalFile
from forescale.cli._outputs import check_destinations
from forescale.cli._threads import use_one_thread
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit import FittedLaw, Score

READINGS = ("nearest", "linear", "smooth")


def fit(
    runs: Path,
    *,
    out: Path | None = None,
    json: bool = False,
    protocol: str = "auto",
    loss_law: str | None = None,
    isoflop: Flag = False,
    groups: str | None = None,
    picture: OptionalFile = None,
    over: str = "cells",
    bootstraps: int = 1000,
    columns: str | None = None,
    seq_len: int | None = None,
    seed: int = 0,
) -> None:
    """Fit laws of the best learning rate and batch to your own sweep, and say how they do on cells they have not seen.

    Runs are grouped into cells of the same workload. Every protocol is fitted without one cell at a time and scored on
    that cell; the one with the lowest gap becomes the law. `forescale plan --law law.toml` and `forescale score RUNS
    --law law.toml` use it.

    Parameters
    ----------
    runs
        One row per finished run: .csv or .tsv (also .gz), .parquet, .jsonl. Needs parameters, tokens, peak learning
        rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, ...).
    out
        Write the law to this .toml file.
    json
        Print JSON (schema_version 1).
    protocol
        step-law (the published protocol), near-0.5, centroid, vertex, argmin, bowl, or auto: the lowest gap on cells
        left out.
    loss_law
        Fit a law of the loss instead, in this form: chinchilla, skaling, farseer, kaplan, gadre, sparse, muennighoff or moe.
        Needs loss, and parameters and tokens as the form takes them; no learning rate or batch.
    isoflop
        Find the best parameters and tokens of each compute budget in the runs, and how they grow with compute: by a loss
        law of all the runs (skaling, or --loss-law chinchilla), beside a parabola of each budget and its bias.
    groups
        With --loss-law or --isoflop: the column whose runs the bootstrap draws together, because they are checkpoints of
        one run, say. Default: each run by itself; with --isoflop runs of one size.
    picture
        With --isoflop: also draw loss over parameters for every budget: a .png, .svg or .pdf file.
    over
        What the bootstrap resamples: cells, or points as Step Law's authors do (the intervals are then too narrow).
    bootstraps
        Resamples for the intervals.
    columns
        Our name = your column, where the names are not recognised: learning_rate=lr,tokens=D.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    seed
        Of the bootstrap.
    """
    use_one_thread()
    from forescale.fit import fit_law
    from forescale.runs import parse_columns, read_runs

    _check(out, picture, runs)
    _refuse_unused(
        loss_law, isoflop, protocol=protocol != "auto", over=over != "cells", seq_len=seq_len is not None,
        groups=groups is not None, picture=picture is not None,
    )  # fmt: skip
    if isoflop:
        from forescale.cli._fit_isoflop import fit_isoflop

        family = loss_law if loss_law is not None else "skaling"
        fit_isoflop(runs, family, columns, json, out, picture, groups=groups, bootstraps=bootstraps, seed=seed)
        return
    if loss_law is not None:
        from forescale.cli._fit_loss import fit_loss

        fit_loss(runs, loss_law, columns, json, out, groups=groups, bootstraps=bootstraps, seed=seed)
        return
    table = read_runs(runs, columns=parse_columns(columns) if columns is not None else None, seq_len=seq_len)
    fitted = fit_law(table, protocol=protocol, over=over, bootstraps=bootstraps, seed=seed)
    if json:
        from json import dumps

        print(dumps(fitted.to_json(), indent=2, allow_nan=False))
    else:
        _print(fitted)
    if out is not None:
        from forescale.laws import save_law

        save_law(fitted.law, out)
        print(f"forescale: wrote {out}", file=sys.stderr)


def _check(out: Path | None, picture: Path | None, runs: Path) -> None:
    """Refuse files that cannot be written before any work is done."""
    if picture is not None:
        from forescale.plots import picture_format

        picture_format(picture)
    check_destinations({"--out": out, "--picture": picture}, [runs])
    if out is not None and out.suffix != ".toml":
        raise ForescaleError(f"--out must end in .toml, since a law is written as TOML; got {str(out)!r}.")


def _refuse_unused(loss_law: str | None, isoflop: bool, **given: bool) -> None:
    """An option that would change nothing is refused: a loss law has no protocol, a hyperparameter law no picture."""
    if isoflop:
        mode, idle = "--isoflop takes", ("protocol", "over", "seq_len")
    elif loss_law is not None:
        mode, idle = "--loss-law takes", ("protocol", "over", "seq_len", "picture")
    else:
        mode, idle = "without --loss-law or --isoflop fit takes", ("groups", "picture")
    if unused := [f"--{name.replace('_', '-')}" for name in idle if given[name]]:
        raise ForescaleError(f"{mode} no {' and no '.join(unused)}: leave it out.")


def _print(fitted: FittedLaw) -> None:
    from forescale.cli._console import make_console

    console = make_console()
    read = fitted.runs
    console.print(
        f"{read['source']}: {read['read']} runs read, {read['diverged']} diverged, {fitted.cells} cells",
        style="bold",
        markup=False,
    )
    for quantity, formula in fitted.law.predicts.items():
        console.print(f"{quantity} = {formula.text()}", markup=False)
    console.print(_coefficients(fitted))
    console.print(_held_out(fitted))
    for line in _footnotes(fitted):
        console.print(line, markup=False)


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _coefficients(fitted: FittedLaw) -> Table:
    over = fitted.bootstrap
    table = _table(f"Coefficients, 80 % intervals from {over.resamples - over.dropped} resamples of {over.over}")
    for name in ("quantity", "coefficient"):
        table.add_column(name)
    for name in ("value", "low", "high", "standard error"):
        table.add_column(name, justify="right")
    for quantity, coefficients in fitted.coefficients.items():
        for name, c in coefficients.items():
            table.add_row(quantity, _symbol(name), *(f"{v:.4g}" for v in (c.value, c.low, c.high, c.stderr)))
        table.add_section()
    return table


def _symbol(name: str) -> str:
    """`exponent of N`; a coefficient by its logarithm, in which its interval is stated."""
    from forescale.laws import SYMBOLS

    return f"exponent of {SYMBOLS[name]}" if name in SYMBOLS else name


def _held_out(fitted: FittedLaw) -> Table:
    table = _table("Loss gap in per cent on cells left out, mean over cells")
    table.add_column("protocol")
    for name in READINGS:
        table.add_column(name, justify="right")
    table.add_column("optimum of a cell")
    choice = (fitted.choice,) if fitted.choice is not None else ()
    for group in (fitted.held_out, choice, fitted.references):
        for score in group:
            table.add_row(*_row(score, chosen=fitted.chosen_because.startswith(f"{score.name} (")))
        table.add_section()
    return table


def _row(score: Score, *, chosen: bool) -> Iterable[str]:
    yield f"> {score.name}" if chosen else f"  {score.name}"
    for name in READINGS:
        yield f"{100 * getattr(score, name).mean:.3f}" if score.gaps else "-"
    yield score.title


def _footnotes(fitted: FittedLaw) -> Iterable[str]:
    yield f"> chosen: {fitted.chosen_because}."
    if fitted.choice is not None:
        yield (
            "the choice itself: each cell's protocol chosen on the other cells, so this gap does not profit from having "
            "chosen. The last two rows are published and in hindsight: nothing was left out for them."
        )
    for warning in fitted.warnings:
        yield f"! {warning}."
    for note in fitted.notes:
        yield f"{note}."
