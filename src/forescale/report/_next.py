"""The section about what to run next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.quantities import humanize
from forescale.report._cells import cell_name
from forescale.report._parts import Row, Table, count, number, percent

if TYPE_CHECKING:
    from forescale.fit.calibrate import Calibration, SuggestedCell, Suggestion
    from forescale.runs import Runs

SHARE = 0.01  # of the compute of the workload that the law's choice is for


def what_next(runs: Runs, found: Calibration) -> dict[str, Any]:
    """Cells, runs and what they will buy; where nothing is worth running, why."""
    from forescale.fit.calibrate import suggest

    try:
        made = suggest(found.at, SHARE * found.at.compute, runs=runs, seq_len=found.at.seq_len)
    except ForescaleError as error:
        return {"refused": str(error)}
    return {
        "refused": "",
        "made": made,
        "budget": number(made.budget),
        "compute": number(made.compute),
        "share": number(100 * made.compute / found.at.compute, "{:.2g}"),
        "gaps": [percent(100 * each.loss_gap) for each in (made.before, made.after)],
        "cells": _cells(made),
        "runs": _runs(made),
    }


def _cells(made: Suggestion) -> Table:
    head = (
        *("cell", "pattern", "runs", "learning rates", "batches (tokens)", "compute (FLOPs)"),
        "loss gap to expect once they are in (%)",
    )
    caption = "Cells to run, those first that help most for their compute."
    return Table(caption=caption, head=head, rows=[_cell(cell) for cell in made.cells])


def _cell(cell: SuggestedCell) -> Row:
    rates = sorted({run.learning_rate for run in cell.runs})
    batches = sorted({run.batch_tokens for run in cell.runs})
    return (
        cell_name(cell.runs[0]),
        cell.pattern,
        number(len(cell.runs), "{:.0f}"),
        ", ".join(f"{rate:.3g}" for rate in rates),
        ", ".join(humanize(batch) for batch in batches),
        number(cell.compute),
        percent(100 * cell.loss_gap),
    )


def _runs(made: Suggestion) -> Table:
    rows: list[Row] = [
        (
            f"{i}",
            cell_name(run),
            number(run.learning_rate, "{:.3g}"),
            count(run.batch_tokens),
            number(run.compute),
        )
        for i, run in enumerate(made.runs, 1)
    ]
    head = ("run", "cell", "learning rate", "batch (tokens)", "compute (FLOPs)")
    return Table(caption="The runs of these cells, in that order.", head=head, rows=rows)
