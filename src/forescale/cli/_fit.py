"""`forescale fit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._options import Flag
from forescale.cli._outputs import check_destinations, write
from forescale.cli._score import THREADS
from forescale.errors import ForescaleError
from forescale.quantities import humanize

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit import FittedLaw, Score
    from forescale.fit.calibrate import Calibration
    from forescale.runs import Runs

READINGS = ("nearest", "linear", "smooth")
PRIORS = ("published", "none")
BOOTSTRAPS = 1000


def fit(
    runs: Path,
    *,
    out: Path | None = None,
    json: bool = False,
    prior: str | None = None,
    protocol: str = "auto",
    loss_law: str | None = None,
    surface: Flag = False,
    over: str = "cells",
    bootstraps: int = BOOTSTRAPS,
    columns: str | None = None,
    seq_len: int | None = None,
    seed: int = 0,
    report: Path | None = None,
) -> None:
    """Laws of the best learning rate and batch from your own runs, and how they do on cells they have not seen.

    Runs are grouped into cells of the same workload. The published prior (what other labs' laws have in common, and how
    far they differ) is calibrated on them: a handful of cheap runs is enough. With --prior none a law is fitted to the
    runs alone: every protocol without one cell at a time, scored on that cell; the lowest gap becomes the law.
    `forescale plan --law law.toml` and `forescale score RUNS --law law.toml` use the law.

    Parameters
    ----------
    runs
        One row per finished run: .csv or .tsv (also .gz), .parquet, .jsonl. Needs parameters, tokens, peak learning
        rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, ...).
    out
        Write the law to this .toml file.
    json
        Print JSON (schema_version 1).
    prior
        published, or none; default: published, unless a protocol is named.
    protocol
        Without a prior: step-law (the published protocol), near-0.5, centroid, vertex, argmin, bowl, or auto: the
        lowest gap on cells left out.
    loss_law
        Fit a law of the loss instead, in this form: chinchilla, skaling, farseer, kaplan, gadre, sparse, muennighoff or moe.
        Needs loss, and parameters and tokens as the form takes them; no learning rate or batch.
    surface
        Fit one surface of the loss over parameters, tokens, learning rate and batch instead: it predicts any setting's loss
        and gap. --out writes it to a .toml file that forescale score --surface reads.
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
    alone = {"--protocol": protocol != "auto", "--over": over != "cells", "--bootstraps": bootstraps != BOOTSTRAPS}
    with_prior = _with_prior(prior, [option for option, given in alone.items() if given], loss_law)
    if surface:
        from forescale.cli._surface import fit_and_print

        _refuse_with_surface(prior, protocol, over, loss_law, bootstraps)
        table = read_runs(runs, columns=parse_columns(columns) if columns is not None else None, seq_len=seq_len)
        fit_and_print(table, out, json=json, seed=seed)
        return
    if loss_law is not None:
        from forescale.cli._fit_loss import fit_loss

        _refuse_unused(protocol, over, seq_len)
        fit_loss(runs, loss_law, columns, json, out, report, bootstraps=bootstraps, seed=seed)
        return
    table = read_runs(runs, columns=parse_columns(columns) if columns is not None else None, seq_len=seq_len)
    if with_prior:
        from forescale.fit.calibrate import calibrate

        fitted = calibrate(table)
    else:
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


def _with_prior(prior: str | None, alone: Sequence[str], loss_law: str | None) -> bool:
    """Whether the published prior is calibrated; `alone` are the given options that only a fit without a prior has."""
    if prior is not None and prior not in PRIORS:
        raise ForescaleError(f"--prior is published or none; got {prior!r}.")
    if prior is not None and loss_law is not None:
        raise ForescaleError("--loss-law takes no --prior: leave it out.")
    if prior == "published" and alone:
        raise ForescaleError(
            f"{' and '.join(alone)} only matter without a prior: give --prior none, or leave them out."
        )
    return prior != "none" and not alone and loss_law is None


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


def _refuse_with_surface(prior: str | None, protocol: str, over: str, loss_law: str | None, bootstraps: int) -> None:
    """A surface is one fit of all losses, with intervals in closed form."""
    given = {
        "--prior": prior is not None,
        "--protocol": protocol != "auto",
        "--over": over != "cells",
        "--loss-law": loss_law is not None,
        "--bootstraps": bootstraps != BOOTSTRAPS,
    }
    if unused := [option for option, changed in given.items() if changed]:
        raise ForescaleError(f"--surface takes no {' and no '.join(unused)}: leave it out.")


def _print(fitted: FittedLaw | Calibration) -> None:
    from forescale.cli._console import make_console
    from forescale.fit import FittedLaw

    console = make_console()
    read = fitted.runs
    cells = fitted.cells if isinstance(fitted.cells, int) else len(fitted.cells)
    console.print(
        f"{read['source']}: {read['read']} runs read, {read['diverged']} diverged, {cells} cells",
        style="bold",
        markup=False,
    )
    for quantity, formula in fitted.law.predicts.items():
        console.print(f"{quantity} = {formula.text()}", markup=False)
    if isinstance(fitted, FittedLaw):
        console.print(_coefficients(fitted))
        console.print(_held_out((*fitted.held_out, *_some(fitted.choice)), fitted.references, fitted.chosen_because))
        notes = _footnotes(fitted)
    else:
        console.print(_learnt(fitted))
        console.print(_held_out(fitted.held_out, fitted.references, ""))
        notes = _calibration_notes(fitted)
    for line in notes:
        console.print(line, markup=False)


def _some(score: Score | None) -> tuple[Score, ...]:
    return () if score is None else (score,)


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


def _learnt(fitted: Calibration) -> Table:
    """Each coefficient before and after the runs."""
    table = _table("Coefficients with 80 % intervals: the prior, and after these runs")
    for name in ("quantity", "coefficient"):
        table.add_column(name)
    for name in ("prior", "low", "high", "after", "low", "high"):
        table.add_column(name, justify="right")
    for quantity, coefficients in fitted.coefficients.items():
        for name, c in coefficients.items():
            numbers = (c.prior[0], *c.prior[2:], c.posterior[0], *c.posterior[2:])
            table.add_row(quantity, _symbol(name), *(f"{v:.3g}" for v in numbers))
        table.add_section()
    return table


def _calibration_notes(fitted: Calibration) -> Iterable[str]:
    at = fitted.at
    yield f"At N = {humanize(at.params)}, D = {humanize(at.tokens)} (80 %), from the prior and after these runs:"
    for name, before, after in _estimates(fitted):
        yield f"  best {name}: {before}; now {after}"
    yield f"  loss gap to expect: {100 * fitted.before.loss_gap:.2g} %; now {100 * fitted.after.loss_gap:.2g} %"
    yield from (f"! {warning}." for warning in fitted.warnings)
    yield from (f"{note}." for note in fitted.notes)


def _estimates(fitted: Calibration) -> Iterable[tuple[str, str, str]]:
    both = (fitted.before, fitted.after)
    rates = [f"{e.value:.2e} ({e.low:.2e} to {e.high:.2e})" for e in (f.learning_rate for f in both)]
    batches = [f"{humanize(e.value)} ({humanize(e.low)} to {humanize(e.high)})" for e in (f.batch_tokens for f in both)]
    yield "learning rate", rates[0], rates[1]
    yield "batch", batches[0], batches[1]


def _held_out(held_out: Sequence[Score], references: Sequence[Score], chosen_because: str) -> Table:
    table = _table("Loss gap in per cent on cells left out, mean over cells")
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
