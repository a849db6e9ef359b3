"""The page about a fitted hyperparameter law."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize
from forescale.report._cells import (
    cells_table,
    columns_table,
    condition_tables,
    coverage_figure,
    coverage_table,
    panels,
    readings_table,
    residual_figures,
    slope_figures,
    value_figures,
)
from forescale.report._parts import (
    QUANTITIES,
    Figure,
    Number,
    Row,
    Table,
    figure,
    number,
    percent,
    rare_first,
    render,
    symbol,
)

if TYPE_CHECKING:
    from forescale.fit import Coverage, Evidence, FittedLaw, Score
    from forescale.runs import Runs

READINGS = ("nearest", "linear", "smooth")
WHERE = "in the middle of the sweep"


def fit_report(
    runs: Runs,
    fitted: FittedLaw,
    *,
    law_file: str = "law.toml",
) -> str:
    """A self-contained page of HTML about a law fitted to `runs`; nothing in it is loaded from elsewhere.

    `law_file` is the file that the commands on the page name. Raises `ForescaleError` where the runs are not those of
    the fit.
    """
    from forescale.fit import evidence
    from forescale.laws import law_toml

    shown = evidence(runs, fitted)
    document = fitted.to_json()
    return render(
        "fit.html",
        title=f"Fit to {fitted.cells} cells of {runs.source}",
        fitted=fitted,
        document=document,
        chosen=document["held_out"][fitted.chosen],
        warnings=rare_first(fitted.warnings),
        costs=_costs(fitted, document),
        verdict=_verdict(fitted, document, shown),
        columns=columns_table(runs),
        coverage_figure=coverage_figure(shown.coverage, "a cell of the fit", "left out of the fit"),
        coverage=coverage_table(shown.coverage, "in the fit?", [_in_the_fit(c) for c in shown.coverage]),
        panels=panels(shown.cells),
        cells=cells_table(shown.cells, list(fitted.coefficients)),
        coefficient_figures=[*value_figures(shown.readings, shown.middle, WHERE), *slope_figures(shown.readings)],
        coefficients=_coefficients(document),
        readings=readings_table(shown, WHERE),
        held_out_figure=_held_out_figure(fitted),
        held_out=_held_out(fitted, document),
        residual_figures=list(residual_figures(shown.cells, list(fitted.coefficients))),
        conditions=list(condition_tables(fitted.law, _origin(fitted))),
        toml=law_toml(fitted.law),
        law_file=law_file,
        commands=_commands(runs, fitted, shown, law_file),
    )


def _gap_row(name: str, gaps: Mapping[str, Any], *more: str) -> Row:
    bound = bool(gaps["lower_bound"])
    means = (percent(gaps[reading]["mean"], bound=bound) for reading in READINGS)
    return (name, *means, percent(gaps["linear"]["max"]), *more)


def _costs(fitted: FittedLaw, document: Mapping[str, Any]) -> dict[str, Number | None]:
    """The two numbers of the verdict; None where no cell has one."""
    scores = {"own": document["held_out"][fitted.chosen], "published": next(iter(document["references"].values()))}
    return {
        name: percent(gaps["linear"]["mean"], bound=gaps["lower_bound"]) if gaps["cells"] else None
        for name, gaps in scores.items()
    }


def _verdict(fitted: FittedLaw, document: Mapping[str, Any], shown: Evidence) -> Table:
    """The law on cells it had not seen, beside what was published and the best constant setting."""
    rows = [
        _gap_row("this law, each cell left out once", document["held_out"][fitted.chosen], f"protocol {fitted.chosen}")
    ]
    if document["choice_held_out"] is not None:
        note = "the protocol too is chosen without the cell"
        rows.append(_gap_row("this law and its protocol", document["choice_held_out"], note))
    rows += [_gap_row(f"{s.name}, as published", s.to_json(), _remark(s)) for s in shown.published]
    constant = fitted.references[-1]
    rows.append(_gap_row(constant.name, constant.to_json(), "the best constant setting in hindsight"))
    head = ("choice of learning rate and batch", *READINGS, "worst cell (linear)", "remark")
    caption = f"Loss above each cell's lowest, in per cent: mean over {fitted.cells} cells, read three ways."
    return Table(caption=caption, head=head, rows=rows, strong=(0,))


def _remark(score: Score) -> str:
    remarks = [f"fitted on {score.fitted_on}: on those runs nothing was left out"] if score.fitted_on else []
    remarks += [f"outside its measured range in {score.outside} of {len(score.gaps)} cells"] if score.outside else []
    remarks += [f"no value in {score.missing}"] if score.missing else []
    return "; ".join(remarks)


def _coefficients(document: Mapping[str, Any]) -> Table:
    over = document["bootstrap"]
    rows: list[Row] = [
        (
            f"{QUANTITIES[quantity]}: {symbol(name)}",
            *(number(c[key]) for key in ("value", "low", "high", "stderr", "mean")),
        )
        for quantity, said in document["predicts"].items()
        for name, c in said["parameters"].items()
    ]
    kept = over["resamples"] - over["dropped"]
    caption = f"Coefficients, with 80 % intervals from {kept} resamples of {over['over']}; natural logarithms."
    head = ("coefficient", "value", "80 % low", "80 % high", "standard error", "mean of resamples")
    return Table(caption=caption, head=head, rows=rows)


def _held_out_figure(fitted: FittedLaw) -> Figure:
    from forescale.plots import held_out_chart

    alt = f"Loss gaps of every protocol on cells left out; {fitted.chosen} was chosen."
    return figure(held_out_chart(fitted), "held-out", alt)


def _held_out(fitted: FittedLaw, document: Mapping[str, Any]) -> Table:
    choice = () if fitted.choice is None else ((fitted.choice, document["choice_held_out"]),)
    scores = [(s, document["held_out"][s.name]) for s in fitted.held_out]
    rows: list[Row] = []
    for score, gaps in (*scores, *choice, *((s, document["references"][s.name]) for s in fitted.references)):
        missing = f"; no value in {score.missing}" if score.missing else ""
        name = f"▸ {score.name} (chosen)" if score.name == fitted.chosen else score.name
        rows.append(
            _gap_row(name, gaps, score.title + missing) if score.gaps else (name, *[""] * 4, score.title + missing)
        )
    head = ("protocol", *READINGS, "worst cell (linear)", "optimum of a cell")
    caption = (
        "Loss above the cell's lowest in per cent, mean over cells, each law fitted without the cell it is scored on."
    )
    strong = [i for i, (score, _) in enumerate(scores) if score.name == fitted.chosen]
    return Table(caption=caption, head=head, rows=rows, strong=strong)


def _in_the_fit(c: Coverage) -> str:
    return f"no: {c.left_out}" if c.left_out else "yes"


def _origin(fitted: FittedLaw) -> list[tuple[str, str]]:
    over = fitted.bootstrap
    return [
        ("runs", str(fitted.runs["source"])),
        ("SHA-256 of their numbers", str(fitted.runs["sha256"])),
        ("fitted by", fitted.law.source.place),
        ("bootstrap", f"{over.resamples} resamples of {over.over}, {over.dropped} dropped, seed {over.seed}"),
    ]


def _commands(runs: Runs, fitted: FittedLaw, shown: Evidence, law_file: str) -> str:
    """What to type, for the largest workload of the range."""
    law = shlex.quote(law_file)
    largest = max(fitted.law.range["params"]), max(fitted.law.range["tokens"])
    sizes = f"--params {humanize(largest[0])} --tokens {humanize(largest[1])} --seq-len {shown.middle.seq_len}"
    asked = (
        "" if "seq_len" in runs.columns or "seq_len" not in runs.frame.columns else f" --seq-len {shown.middle.seq_len}"
    )
    return f"forescale plan {sizes} --law {law}\nforescale score {shlex.quote(runs.source)}{asked} --law {law}"
