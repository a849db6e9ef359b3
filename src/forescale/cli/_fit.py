"""`forescale fit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._outputs import check_destinations, write
from forescale.cli._score import THREADS
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit import FittedLaw, Score
    from forescale.runs import Runs

READINGS = ("nearest", "linear", "smooth")


def fit(
    runs: Path,
    *,
    out: Path | None = None,
    json: bool = False,
    protocol: str = "auto",
    loss_law: str | None = None,
    over: str = "cells",
    bootstraps: int = 1000,
    columns: str | None = None,
    seq_len: int | None = None,
    seed: int = 0,
    report: Path | None = None,
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
    report
        Also write a page about the fit to this .html file: data, landscape, coefficients, held-out scores, residuals. It
        is one file that opens offline.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")
    from forescale.fit import fit_law
    from forescale.runs import parse_columns, read_runs

    _check(out, report, runs)
    if loss_law is not None:
        from forescale.cli._fit_loss import fit_loss

        _refuse_unused(protocol, over, seq_len)
        fit_loss(runs, loss_law, columns, json, out, report, bootstraps=bootstraps, seed=seed)
        return
    table = read_runs(runs, columns=parse_columns(columns) if columns is not None else None, seq_len=seq_len)
    fitted = fit_law(table, protocol=protocol, over=over, bootstraps=bootstraps, seed=seed)
    page = None if report is None else _page(table, fitted, out)
    if json:
        from json import dumps

        print(dumps(fitted.to_json(), indent=2, allow_nan=False))
    else:
        _print(fitted)
    if out is not None:
        from forescale.laws import save_law

        save_law(fitted.law, out)
        print(f"forescale: wrote {out}", file=sys.stderr)
    write_report(report, page)


def _page(table: Runs, fitted: FittedLaw, out: Path | None) -> str:
    from forescale.report import fit_report

    return fit_report(table, fitted, law_file="law.toml" if out is None else str(out))


def write_report(report: Path | None, page: str | None) -> None:
    """Write the page where one was asked for; it was made before anything was printed."""
    if report is not None and page is not None:
        sys.stdout.flush()  # what cannot be printed fails here, before a file is written
        print(f"forescale: {write(report, page.encode())} {report}", file=sys.stderr)


def _check(out: Path | None, report: Path | None, runs: Path) -> None:
    """Refuse a file that cannot be written before any work is done."""
    check_destinations({"--out": out, "--report": report}, [runs])
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise ForescaleError(f"--report must end in .html, since a report is a page of HTML; got {str(report)!r}.")
    if out is not None and out.suffix != ".toml":
        raise ForescaleError(f"--out must end in .toml, since a law is written as TOML; got {str(out)!r}.")


def _refuse_unused(protocol: str, over: str, seq_len: int | None) -> None:
    """A loss law has no protocol and no batch: an option that would change nothing is refused."""
    given = {"--protocol": protocol != "auto", "--over": over != "cells", "--seq-len": seq_len is not None}
    if unused := [option for option, changed in given.items() if changed]:
        raise ForescaleError(f"--loss-law takes no {' and no '.join(unused)}: leave it out.")


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
