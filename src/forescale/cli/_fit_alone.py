"""`forescale fit --prior none`: a law from the runs alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.cli._fit_parts import held_out_table, plain_table, print_heading, symbol
from forescale.cli._outputs import write_report

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit import FittedLaw
    from forescale.runs import Runs


def fit_alone(table: Runs, *, json: bool, out: Path | None, report: Path | None, **options: Any) -> None:
    """Fit a law by a protocol, print it, and save it to `out` and a page about it to `report`."""
    from forescale.fit import fit_law

    fitted = fit_law(table, **options)
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


def _print(fitted: FittedLaw) -> None:
    from forescale.cli._console import make_console

    console = make_console()
    print_heading(console, fitted.law, fitted.runs, fitted.cells)
    console.print(_coefficients(fitted))
    choice = (fitted.choice,) if fitted.choice is not None else ()
    console.print(held_out_table((*fitted.held_out, *choice), fitted.references, fitted.chosen_because))
    for line in _footnotes(fitted):
        console.print(line, markup=False)


def _coefficients(fitted: FittedLaw) -> Table:
    over = fitted.bootstrap
    table = plain_table(f"Coefficients, 80 % intervals from {over.resamples - over.dropped} resamples of {over.over}")
    for name in ("quantity", "coefficient"):
        table.add_column(name)
    for name in ("value", "low", "high", "standard error"):
        table.add_column(name, justify="right")
    for quantity, coefficients in fitted.coefficients.items():
        for name, c in coefficients.items():
            table.add_row(quantity, symbol(name), *(f"{v:.4g}" for v in (c.value, c.low, c.high, c.stderr)))
        table.add_section()
    return table


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
