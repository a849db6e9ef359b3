"""`forescale fit`: the published prior, calibrated on the runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._fit_parts import held_out_table, plain_table, print_heading, symbol
from forescale.cli._outputs import write_report
from forescale.quantities import humanize

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit.calibrate import Calibration
    from forescale.runs import Runs


def fit_prior(table: Runs, *, json: bool, out: Path | None, report: Path | None) -> None:
    """Calibrate the prior, print what was learnt, and save the law to `out` and a page about it to `report`."""
    from forescale.fit.calibrate import calibrate

    found = calibrate(table)
    page = None if report is None else _page(table, found, out)
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        _print(found)
    if out is not None:
        from forescale.laws import save_law

        save_law(found.law, out)
        print(f"forescale: wrote {out}", file=sys.stderr)
    write_report(report, page)


def _page(table: Runs, found: Calibration, out: Path | None) -> str:
    from forescale.report import calibration_report

    return calibration_report(table, found, law_file="law.toml" if out is None else str(out))


def _print(found: Calibration) -> None:
    from forescale.cli._console import make_console

    console = make_console()
    print_heading(console, found.law, found.runs, len(found.cells))
    console.print(_learnt(found))
    console.print(held_out_table(found.held_out, found.references, ""))
    for line in _notes(found):
        console.print(line, markup=False)


def _learnt(found: Calibration) -> Table:
    """Each coefficient before and after the runs."""
    table = plain_table("Coefficients with 80 % intervals: the prior, and after these runs")
    for name in ("quantity", "coefficient"):
        table.add_column(name)
    for name in ("prior", "low", "high", "after", "low", "high"):
        table.add_column(name, justify="right")
    for quantity, coefficients in found.coefficients.items():
        for name, c in coefficients.items():
            numbers = (c.prior[0], *c.prior[2:], c.posterior[0], *c.posterior[2:])
            table.add_row(quantity, symbol(name), *(f"{v:.3g}" for v in numbers))
        table.add_section()
    return table


def _notes(found: Calibration) -> Iterable[str]:
    at = found.at
    yield f"At N = {humanize(at.params)}, D = {humanize(at.tokens)} (80 %), from the prior and after these runs:"
    for name, before, after in _estimates(found):
        yield f"  best {name}: {before}; now {after}"
    yield f"  loss gap to expect: {100 * found.before.loss_gap:.2g} %; now {100 * found.after.loss_gap:.2g} %"
    yield from (f"! {warning}." for warning in found.warnings)
    yield from (f"{note}." for note in found.notes)


def _estimates(found: Calibration) -> Iterable[tuple[str, str, str]]:
    both = (found.before, found.after)
    rates = [f"{e.value:.2e} ({e.low:.2e} to {e.high:.2e})" for e in (f.learning_rate for f in both)]
    batches = [f"{humanize(e.value)} ({humanize(e.low)} to {humanize(e.high)})" for e in (f.batch_tokens for f in both)]
    yield "learning rate", rates[0], rates[1]
    yield "batch", batches[0], batches[1]
