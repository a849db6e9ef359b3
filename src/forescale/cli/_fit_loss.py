"""`forescale fit --loss-law`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from forescale.fit.loss import LossFit
    from forescale.runs import Runs


def fit_loss(
    runs: Path,
    family: str,
    columns: str | None = None,
    json: bool = False,
    out: Path | None = None,
    report: Path | None = None,
    *,
    groups: str | None = None,
    constants: str | None = None,
    keep_unfinished: bool = False,
    bootstraps: int = 1000,
    seed: int = 0,
) -> None:
    """Fit the loss law `family` to the runs, print its constants with intervals, save the law to `out`, a page to `report`."""
    from forescale.cli._outputs import write_report
    from forescale.cli._own_runs import read
    from forescale.fit.loss import fit_loss_law
    from forescale.laws import save_law

    table = read(runs, columns, constants, keep_unfinished=keep_unfinished, needs=("loss",))
    fit = fit_loss_law(table, family, groups=groups, bootstraps=bootstraps, seed=seed)
    page = None if report is None else _page(table, fit, out)
    if json:
        from json import dumps

        print(dumps(fit.to_json(), indent=2, allow_nan=False))
    else:
        _print(fit)
    if out is not None:
        save_law(fit.law, out)
        print(f"forescale: wrote {out}", file=sys.stderr)
    write_report(report, page)


def _page(table: Runs, fit: LossFit, out: Path | None) -> str:
    from forescale.report import loss_report

    return loss_report(table, fit, law_file="law.toml" if out is None else str(out))


def _print(fit: LossFit) -> None:
    from forescale.cli._console import make_console

    console = make_console()
    console.print(f"[bold]{fit.law.title}[/bold]: {fit.law.formula('loss').text()}", soft_wrap=True)
    console.print(_table(fit))
    console.print(f"objective {fit.objective:.6g} (mean Huber loss of ln L), rms {100 * fit.rms:.2f} %", markup=False)
    if (held := fit.extrapolation) is not None:
        console.print(
            f"held out: the {held.held_out} most expensive runs, up to {held.factor:.3g} times the compute fitted, are "
            f"predicted {100 * held.bias:+.2f} % off ({100 * held.bias_low:+.2f} to {100 * held.bias_high:+.2f} % with "
            f"parameters as good), rms {100 * held.rms:.2f} %",
            soft_wrap=True,
        )
    for line in fit.warnings:
        console.print(f"! {line}.", markup=False, soft_wrap=True)


def _table(fit: LossFit) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("constant")
    for name in ("value", "stderr", "80 % low", "high", "as good: low", "high"):
        table.add_column(name, justify="right")
    for name, p in fit.parameters.items():
        numbers = (p.value, p.stderr, p.low, p.high, *fit.spread[name])
        table.add_row(name, *(f"{v:.4g}" for v in numbers))
    return table
