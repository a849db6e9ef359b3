"""`forescale fit`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from forescale.cli._outputs import check_destinations
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
    over: str = "cells",
    bootstraps: int = 1000,
    columns: str | None = None,
    set: str | None = None,  # noqa: A002  # the option's name
    seq_len: int | None = None,
    keep_unfinished: bool = False,
    seed: int = 0,
) -> None:
    """Fit laws of the best learning rate and batch to your own sweep, and say how they do on cells they have not seen.

    Runs are grouped into cells of the same workload. Every protocol is fitted without one cell at a time and scored on
    that cell; the one with the lowest gap becomes the law. `forescale plan --law law.toml` and `forescale score RUNS
    --law law.toml` use it.

    Parameters
    ----------
    runs
        A table with one row per finished run (.csv, .tsv, also .gz; .parquet, .jsonl, .json), or the store of a tool: a
        W&B export or run folders, an MLflow store, TensorBoard event files, an Optuna study (file::study where it holds
        several), a Ray Tune experiment, trainer_state.json files of Hugging Face. Needs parameters, tokens, peak
        learning rate, batch and loss, under our names or common ones (N, D, lr, bs, smooth loss, config.lr, ...).
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
    set
        What is alike in every run and not recorded, by our name: params=124M,tokens=2.6B.
    keep_unfinished
        Also take runs that crashed, were killed or pruned, or still run.
    seq_len
        Tokens per sequence, where the batch counts sequences and no column says.
    seed
        Of the bootstrap.
    """
    from forescale.cli._runs import read
    from forescale.fit import fit_law

    _check(out, runs)
    if loss_law is not None:
        from forescale.cli._fit_loss import fit_loss

        _refuse_unused(protocol, over, seq_len)
        reading = partial(fit_loss, constants=set, keep_unfinished=keep_unfinished)
        reading(runs, loss_law, columns, json, out, bootstraps=bootstraps, seed=seed)
        return
    table = read(runs, columns, set, seq_len=seq_len, keep_unfinished=keep_unfinished)
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


def _check(out: Path | None, runs: Path) -> None:
    """Refuse a file that cannot be written before any work is done."""
    check_destinations({"--out": out}, [runs])
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
