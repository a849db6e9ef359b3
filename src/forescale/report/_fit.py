"""The page about a fitted hyperparameter law."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize
from forescale.report._calibration import calibration_section
from forescale.report._extras import Calibration, SuggestedRun
from forescale.report._parts import (
    QUANTITIES,
    Figure,
    Number,
    Row,
    Table,
    count,
    exponent,
    facts,
    figure,
    number,
    percent,
    rare_first,
    render,
    symbol,
)

if TYPE_CHECKING:
    from forescale.fit import CellEvidence, Coverage, Evidence, FittedLaw, Score
    from forescale.runs import Runs

READINGS = ("nearest", "linear", "smooth")
MOST_PANELS = 24  # cells drawn; the table has them all


def fit_report(
    runs: Runs,
    fitted: FittedLaw,
    *,
    law_file: str = "law.toml",
    suggestions: Sequence[SuggestedRun] | None = None,
    calibration: Calibration | None = None,
) -> str:
    """A self-contained page of HTML about a law fitted to `runs`; nothing in it is loaded from elsewhere.

    `law_file` is the file that the commands on the page name. `suggestions` and `calibration` add a section each.
    Raises `ForescaleError` where the runs are not those of the fit.
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
        columns=_columns(runs),
        coverage_figure=_coverage_figure(shown.coverage),
        coverage=_coverage(shown.coverage),
        panels=_panels(shown.cells),
        cells=_cells(shown.cells, list(fitted.coefficients)),
        coefficient_figures=list(_coefficient_figures(fitted, shown)),
        coefficients=_coefficients(document),
        readings=_readings(shown),
        held_out_figure=_held_out_figure(fitted),
        held_out=_held_out(fitted, document),
        residual_figures=list(_residual_figures(fitted, shown.cells)),
        calibration=None if calibration is None else calibration_section(calibration),
        suggestions=None if suggestions is None else _suggestions(suggestions),
        conditions=list(_conditions(fitted)),
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


def _columns(runs: Runs) -> Table:
    caption = "Which column of the file is which."
    return Table(caption=caption, head=("here", "in the file"), rows=list(runs.columns.items()))


def _coverage_figure(coverage: Sequence[Coverage]) -> Figure:
    from forescale.plots import coverage_map

    left_out = sum(bool(c.left_out) for c in coverage)
    alt = f"Map of {len(coverage)} cells over tokens and parameters, {left_out} of them left out of the fit."
    return figure(coverage_map(coverage), "coverage", alt)


def _coverage(coverage: Sequence[Coverage]) -> Table:
    head = (
        *("cell", "runs", "diverged", "settings", "learning rates", "batches (tokens)"),
        *("lowest loss (nats per token)", "in the fit?"),
    )
    caption = "Every cell of the runs: distinct settings among the runs that trained, and what was swept."
    return Table(caption=caption, head=head, rows=[_covered(c) for c in coverage])


def _covered(c: Coverage) -> Row:
    return (
        _cell_name(c),
        *(number(n, "{:.0f}") for n in (c.runs, c.diverged, c.settings)),
        _span(*(f"{v:.3g}" for v in c.learning_rates)),
        _span(*(humanize(v) for v in c.batches)),
        f"{c.lowest_loss:.4g}",
        f"no: {c.left_out}" if c.left_out else "yes",
    )


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _cell_name(at: Any) -> str:
    active = f" ({humanize(at.active_params)} active)" if at.active_params < at.params else ""
    return f"N\u00a0=\u00a0{humanize(at.params)}{active}, D\u00a0=\u00a0{humanize(at.tokens)}"


def _panels(cells: Sequence[CellEvidence]) -> dict[str, Any]:
    """A picture a cell; of very many cells, some that are spread evenly over them."""
    from forescale.plots import landscape_legend, landscape_map

    step = max(len(cells) / MOST_PANELS, 1.0)
    drawn = [cells[int(i * step)] for i in range(min(len(cells), MOST_PANELS))]
    legend = figure(landscape_legend(), "legend", "What the signs in the pictures mean.")
    figures = [figure(landscape_map(c), f"cell{i}", _describe(c)) for i, c in enumerate(drawn)]
    return {"legend": legend, "figures": figures, "drawn": len(drawn), "all": len(cells)}


def _describe(c: CellEvidence) -> str:
    return (
        f"Loss over batch and learning rate at {_cell_name(c.cell)}: measured optimum at learning rate "
        f"{c.optimum[0]:.3g} and batch {humanize(c.optimum[1])} tokens; the law chooses {c.choice.learning_rate:.3g} and "
        f"{humanize(c.choice.batch_tokens)}."
    )


def _cells(cells: Sequence[CellEvidence], quantities: Sequence[str]) -> Table:
    named = {"learning_rate": "learning rate", "batch_tokens": "batch (tokens)"}
    head = (
        "cell",
        *(f"{what}: {named[q]}" for q in quantities for what in ("optimum", "law")),
        *(f"{QUANTITIES[q]} off by (octaves)" for q in quantities),
        *("law's gap (%, smooth)", "cell left out (%)", "published Step Law (%)"),
    )
    caption = (
        "The measured optimum of each cell (lowest point of its smooth surface), the law's choice, and what it costs."
    )
    if any(c.cell.on_edge for c in cells):
        caption += " † The best run lies on the edge of its sweep, so the optimum may lie beyond."
    return Table(caption=caption, head=head, rows=[tuple(_cell_row(c, quantities)) for c in cells])


def _cell_row(c: CellEvidence, quantities: Sequence[str]) -> Iterator[str | Number]:
    yield _cell_name(c.cell) + (" †" if c.cell.on_edge else "")
    optimum = dict(zip(QUANTITIES, c.optimum, strict=True))
    for quantity in quantities:
        for value in (optimum[quantity], getattr(c.choice, quantity)):
            yield count(value) if quantity == "batch_tokens" else number(value, "{:.3g}")
    for quantity in quantities:
        yield number(c.octaves(quantity, c.choice), "{:+.2f}")
    for gap in (c.choice, c.held_out, c.published):
        yield "" if gap is None else percent(100 * gap.smooth, bound=gap.clipped)


def _coefficient_figures(fitted: FittedLaw, shown: Evidence) -> Iterator[Figure]:
    from forescale.plots import slope_chart, value_chart

    for quantity in fitted.coefficients:
        what = QUANTITIES[quantity]
        drawn = value_chart(shown.readings, quantity, shown.middle)
        yield figure(drawn, f"value-{quantity}", f"The {what} that each law chooses in the middle of the sweep.")
        for variable in fitted.law.predicts[quantity].exponents:
            drawn = slope_chart(shown.readings, quantity, variable)
            alt = f"The {symbol(variable)} in the {what} of this law and of published ones, with 80 % intervals."
            yield figure(drawn, f"slope-{quantity}-{variable}", alt)


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


def _readings(shown: Evidence) -> Table:
    """Every law in the middle of the sweep, in numbers."""
    inputs = list(dict.fromkeys(name for each in shown.readings for name in each.slopes))
    rows: list[Row] = []
    for each in shown.readings:
        text = humanize if each.quantity == "batch_tokens" else "{:.3g}"
        name = "this law" if each.own else each.name
        slopes = (each.slopes.get(i) for i in inputs)
        exponents = ("" if s is None else exponent(s.value) for s in slopes)
        rows.append((f"{QUANTITIES[each.quantity]}: {name}", number(each.value.value, text), *exponents))
    where = _cell_name(shown.middle)
    caption = (
        f"What each law says in the middle of the sweep ({where}): its value and exponents (slopes in logarithms)."
    )
    head = ("law", "value", *(symbol(i) for i in inputs))
    return Table(caption=caption, head=head, rows=rows, strong=[i for i, r in enumerate(shown.readings) if r.own])


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


def _residual_figures(fitted: FittedLaw, cells: Sequence[CellEvidence]) -> Iterator[Figure]:
    from forescale.plots import residual_chart

    for quantity in fitted.coefficients:
        for variable in ("params", "tokens"):
            drawn = residual_chart(cells, quantity, variable)
            alt = f"The law's {QUANTITIES[quantity]} over the measured optimum, in octaves, against {variable}."
            yield figure(drawn, f"residual-{quantity}-{variable}", alt)


def _suggestions(suggestions: Sequence[SuggestedRun]) -> Table:
    rows: list[Row] = [
        (
            f"{i}",
            *(count(v) for v in (run.params, run.tokens)),
            number(run.learning_rate, "{:.3g}"),
            count(run.batch_tokens),
            number(run.compute),
            run.reason,
        )
        for i, run in enumerate(suggestions, 1)
    ]
    head = ("run", "parameters", "tokens", "learning rate", "batch (tokens)", "compute (FLOPs)", "why")
    return Table(caption="Runs worth doing next, the most useful first.", head=head, rows=rows)


def _conditions(fitted: FittedLaw) -> Iterator[Table]:
    law, over = fitted.law, fitted.bootstrap
    rows: list[Row] = [(axis, count(low), count(high)) for axis, (low, high) in law.range.items()]
    yield Table(caption="The range on which the law was measured.", head=("axis", "from", "to"), rows=rows)
    yield facts("What the runs share; the law holds for that.", [("models", law.experts), *law.conditions.items()])
    yield facts(
        "Where it comes from.",
        [
            ("runs", str(fitted.runs["source"])),
            ("SHA-256 of their numbers", str(fitted.runs["sha256"])),
            ("fitted by", law.source.place),
            ("bootstrap", f"{over.resamples} resamples of {over.over}, {over.dropped} dropped, seed {over.seed}"),
        ],
    )


def _commands(runs: Runs, fitted: FittedLaw, shown: Evidence, law_file: str) -> str:
    """What to type, for the largest workload of the range."""
    law = shlex.quote(law_file)
    largest = max(fitted.law.range["params"]), max(fitted.law.range["tokens"])
    sizes = f"--params {humanize(largest[0])} --tokens {humanize(largest[1])} --seq-len {shown.middle.seq_len}"
    asked = (
        "" if "seq_len" in runs.columns or "seq_len" not in runs.frame.columns else f" --seq-len {shown.middle.seq_len}"
    )
    return f"forescale plan {sizes} --law {law}\nforescale score {shlex.quote(runs.source)}{asked} --law {law}"
