"""The page about the published prior, calibrated on runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize
from forescale.report._cells import (
    cell_name,
    cells_table,
    columns_table,
    condition_tables,
    coverage_figure,
    coverage_table,
    panels,
    readings_table,
    residual_figures,
    setting,
    slope_figures,
    value_figures,
)
from forescale.report._next import what_next
from forescale.report._parts import QUANTITIES, Figure, Number, Row, Table, figure, number, percent, render, symbol

if TYPE_CHECKING:
    from forescale.fit import Score
    from forescale.fit.calibrate import Calibration, Estimate
    from forescale.runs import Runs

READINGS = ("nearest", "linear", "smooth")
WHERE = "where the law's choice is for"
KINDS = {
    "sweep": "a sweep of both",
    "one batch": "a sweep of learning rates at one batch",
    "one rate": "a sweep of batches at one learning rate",
    "best known": "a setting thought good",
    "diverged": "rates above the best",
}


def calibration_report(runs: Runs, found: Calibration, *, law_file: str = "law.toml") -> str:
    """A self-contained page of HTML about the prior calibrated on `runs`, and what to run next; it loads nothing.

    `law_file` is the file that the commands on the page name. Raises `ForescaleError` where the runs are not those of
    the calibration.
    """
    from forescale.fit.calibrate import calibration_evidence
    from forescale.laws import law_toml

    shown = calibration_evidence(runs, found)
    quantities = list(found.coefficients)
    return render(
        "calibration.html",
        title=f"The published prior, calibrated on {_cells(len(found.cells))} of {runs.source}",
        found=found,
        formulas={q: formula.text() for q, formula in found.law.predicts.items()},
        at=cell_name(found.at),
        gaps=[percent(100 * each.loss_gap) for each in (found.before, found.after)],
        costs=_costs(found),
        learnt=_learnt(found),
        value_figures=list(value_figures(shown.readings, found.at, WHERE)),
        held_out_figure=_held_out_figure(found),
        held_out=_held_out(found),
        choice=_choice(found),
        caution_figure=_caution_figure(found),
        slope_figures=list(slope_figures(shown.readings)),
        coefficients=_coefficients(found),
        readings=readings_table(shown, WHERE),
        coverage_figure=coverage_figure(shown.coverage, "a sweep", "no sweep"),
        coverage=coverage_table(shown.coverage, "read as", [KINDS[e.kind] for e in found.cells]),
        columns=columns_table(runs),
        panels=panels(shown.cells),
        cells=cells_table(shown.cells, quantities),
        residual_figures=list(residual_figures(shown.cells, quantities)),
        next=what_next(runs, found),
        conditions=list(condition_tables(found.law, _origin(found))),
        toml=law_toml(found.law),
        law_file=law_file,
        commands=_commands(runs, found, law_file),
    )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _costs(found: Calibration) -> dict[str, Number | None]:
    """The mean gaps of the verdict; None where there is none."""
    means = {
        score.name: percent(100 * score.linear.mean, bound=score.clipped > 0)
        for score in (*found.held_out, *found.references)
    }
    names = {"own": "calibrated", "published": "step-law, as published", "prior": "prior alone"}
    return {key: means.get(name) for key, name in names.items()}


def _learnt(found: Calibration) -> Table:
    """What is known of the target's optimum, before and after."""
    rows: list[Row] = [
        (
            f"best {QUANTITIES[q]}",
            *(cell for seen in (found.before, found.after) for cell in _interval(q, getattr(seen, q))),
        )
        for q in found.coefficients
    ]
    gaps = [percent(100 * seen.loss_gap) for seen in (found.before, found.after)]
    rows.append(("loss gap to expect (%)", gaps[0], "", "", gaps[1], "", ""))
    sides = (("before", "low", "high"), ("after these runs", "low", "high"))
    head = ("", *(name for side in sides for name in side))
    caption = f"What is known of the optimum at {cell_name(found.at)}, with 80 % intervals; batches in tokens."
    return Table(caption=caption, head=head, rows=rows)


def _interval(quantity: str, estimate: Estimate) -> Iterator[Number]:
    return (setting(quantity, value) for value in (estimate.value, estimate.low, estimate.high))


def _choice(found: Calibration) -> Table:
    """From the estimate to the law's choice."""
    rows: list[Row] = []
    for quantity, formula in found.law.predicts.items():
        estimate: Estimate = getattr(found.after, quantity)
        chosen = setting(quantity, estimate.value * formula.caution)
        known, factor = number(estimate.octaves, "{:.2f}"), number(formula.caution, "{:.3f}")
        rows.append((QUANTITIES[quantity], setting(quantity, estimate.value), known, factor, chosen))
    head = ("", "estimate of the best", "known to (octaves, one s.d.)", "caution", "the law's choice")
    return Table(caption=f"The choice at {cell_name(found.at)}.", head=head, rows=rows)


def _caution_figure(found: Calibration) -> Figure:
    from forescale.fit.calibrate import expected_gaps
    from forescale.plots import caution_chart

    curve = expected_gaps(found)
    octaves, gap = curve.choice()
    alt = f"Expected loss gap over learning rate: lowest, {gap:.3g} %, {octaves:+.2f} octaves off the estimate."
    return figure(caution_chart(curve), "caution", alt)


def _held_out_figure(found: Calibration) -> Figure | None:
    from forescale.plots import calibration_chart

    if not found.references:
        return None
    alt = "Loss gaps in every cell of the calibrated law, of one without a prior, of published laws and of a constant."
    return figure(calibration_chart(found), "held-out", alt)


def _held_out(found: Calibration) -> Table | None:
    scores = (*found.held_out, *found.references)
    rows = [tuple(_scored(score)) for score in scores]
    head = ("choice of learning rate and batch", *READINGS, "worst cell (linear)", "cells", "made from")
    caption = "Loss above each cell's lowest, in per cent: mean over cells, read three ways."
    strong = [i for i, score in enumerate(scores) if score.name == "calibrated"]
    return Table(caption=caption, head=head, rows=rows, strong=strong) if rows else None


def _scored(score: Score) -> Iterator[str | Number]:
    document: Mapping[str, Any] = score.to_json()
    yield score.name
    for reading in READINGS:
        yield percent(document[reading]["mean"], bound=document["lower_bound"])
    yield percent(document["linear"]["max"])
    yield number(document["cells"], "{:.0f}")
    yield f"{score.title}; {score.missing}" if score.missing else score.title


def _coefficients(found: Calibration) -> Table:
    """Every coefficient of the law, before and after."""
    rows: list[Row] = []
    for quantity, coefficients in found.coefficients.items():
        for name, learnt in coefficients.items():
            sides = (number(v) for side in (learnt.prior, learnt.posterior) for v in (side[0], *side[2:], side[1]))
            rows.append((f"{QUANTITIES[quantity]}: {symbol(name)}", *sides))
    side = ("80 % low", "80 % high", "standard error")
    head = ("coefficient", "prior", *side, "after these runs", *side)
    caption = "Coefficients before and after these runs; natural logarithms, N and D in counts."
    return Table(caption=caption, head=head, rows=rows)


def _origin(found: Calibration) -> list[tuple[str, str]]:
    labs = [f"{lab.name} ({lab.source}; {_cells(lab.cells)}, {lab.evidence})" for lab in found.prior.labs]
    return [
        ("runs", str(found.runs["source"])),
        (
            "runs read",
            f"{found.runs['read']}, {found.runs['diverged']} diverged, {found.runs['missing_loss']} without loss",
        ),
        ("SHA-256 of their numbers", str(found.runs["sha256"])),
        ("fitted by", found.law.source.place),
        ("labs in the prior", "; ".join(labs)),
        ("labs left out of it", ", ".join(found.left_out_labs) or "none"),
        ("variance of the prior", f"widened {found.widened:.3g} times" if found.widened > 1 else "as published"),
    ]


def _commands(runs: Runs, found: Calibration, law_file: str) -> str:
    """What to type for the workload that the choice is for."""
    at, law, table = found.at, shlex.quote(law_file), f"{shlex.quote(runs.source)}{_reading(runs)}"
    sizes = f"--params {humanize(at.params)} --tokens {humanize(at.tokens)}"
    sizes += f" --active-params {humanize(at.active)}" if at.is_moe else ""
    lines = (
        f"forescale plan {sizes} --seq-len {at.seq_len} --law {law}",
        f"forescale plan {sizes} --seq-len {at.seq_len} --runs {table}",
        f"forescale suggest {sizes} --seq-len {at.seq_len} --budget 1% --runs {table} --out next.csv",
    )
    return "\n".join(lines)


def _reading(runs: Runs) -> str:
    """The options that read the file as it was read here, where its names alone do not."""
    from forescale.runs._columns import find_columns

    ours = {"cell", "diverged", *runs.columns}
    header = [*runs.columns.values(), *(name for name in runs.frame.columns if name not in ours)]
    alone = find_columns(header).columns
    named = ",".join(f"{name}={column}" for name, column in runs.columns.items() if alone.get(name) != column)
    return f" --columns {shlex.quote(named)}" if named else ""
