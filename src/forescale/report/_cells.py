"""What the pages about fits of hyperparameter laws show alike: cells, landscapes, readings of laws, residuals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from forescale.quantities import humanize
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
    symbol,
)

if TYPE_CHECKING:
    from forescale.fit import CellEvidence, Coverage, Evidence, LawReading
    from forescale.laws import Law
    from forescale.runs import Runs
    from forescale.workload import Workload

MOST_PANELS = 24  # cells drawn; the table has them all


def columns_table(runs: Runs) -> Table:
    """Which column was read as what."""
    caption = "Which column of the file is which."
    return Table(caption=caption, head=("here", "in the file"), rows=list(runs.columns.items()))


def coverage_figure(coverage: Sequence[Coverage], counted: str, left_out: str) -> Figure:
    """The cells over tokens and parameters; the words for those of the fit, and for the others."""
    from forescale.plots import coverage_map

    others = sum(bool(c.left_out) for c in coverage)
    alt = f"Map of {len(coverage)} cells over tokens and parameters; {left_out}: {others} of them."
    return figure(coverage_map(coverage, counted=counted, left_out=left_out), "coverage", alt)


def coverage_table(coverage: Sequence[Coverage], head: str, said: Sequence[str]) -> Table:
    """Every cell; the last column is headed `head` and says what became of each."""
    heads = (
        *("cell", "runs", "diverged", "settings", "learning rates", "batches (tokens)"),
        *("lowest loss (nats per token)", head),
    )
    caption = "Every cell of the runs: distinct settings among the runs that trained, and what was swept."
    rows = [(*_covered(c), text) for c, text in zip(coverage, said, strict=True)]
    return Table(caption=caption, head=heads, rows=rows)


def _covered(c: Coverage) -> Row:
    return (
        cell_name(c),
        *(number(n, "{:.0f}") for n in (c.runs, c.diverged, c.settings)),
        _span(*(f"{v:.3g}" for v in c.learning_rates)),
        _span(*(humanize(v) for v in c.batches)),
        f"{c.lowest_loss:.4g}" if isfinite(c.lowest_loss) else "none",
    )


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def cell_name(at: Any) -> str:
    """`N = 100M, D = 2B`, with the active parameters of experts."""
    used = at.active_params or at.params  # a dense workload may leave it out
    active = f" ({humanize(used)} active)" if used < at.params else ""
    return f"N\u00a0=\u00a0{humanize(at.params)}{active}, D\u00a0=\u00a0{humanize(at.tokens)}"


def panels(cells: Sequence[CellEvidence]) -> dict[str, Any]:
    """A picture a cell; of very many cells, some that are spread evenly over them."""
    from forescale.plots import landscape_legend, landscape_map

    step = max(len(cells) / MOST_PANELS, 1.0)
    drawn = [cells[int(i * step)] for i in range(min(len(cells), MOST_PANELS))]
    legend = figure(landscape_legend(), "legend", "What the signs in the pictures mean.")
    figures = [figure(landscape_map(c), f"cell{i}", _describe(c)) for i, c in enumerate(drawn)]
    return {"legend": legend, "figures": figures, "drawn": len(drawn), "all": len(cells)}


def _describe(c: CellEvidence) -> str:
    return (
        f"Loss over batch and learning rate at {cell_name(c.cell)}: measured optimum at learning rate "
        f"{c.optimum[0]:.3g} and batch {humanize(c.optimum[1])} tokens; the law chooses {c.choice.learning_rate:.3g} and "
        f"{humanize(c.choice.batch_tokens)}."
    )


def cells_table(cells: Sequence[CellEvidence], quantities: Sequence[str]) -> Table:
    """Optimum, choice and what it costs, a row a cell."""
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


def setting(quantity: str, value: float) -> Number:
    """A learning rate, or a batch in tokens."""
    return count(value) if quantity == "batch_tokens" else number(value, "{:.3g}")


def _cell_row(c: CellEvidence, quantities: Sequence[str]) -> Iterator[str | Number]:
    yield cell_name(c.cell) + (" †" if c.cell.on_edge else "")
    optimum = dict(zip(QUANTITIES, c.optimum, strict=True))
    swept = dict(zip(QUANTITIES, c.cell.spread, strict=True))
    for quantity in quantities:
        for value in (optimum[quantity], getattr(c.choice, quantity)):
            yield setting(quantity, value)
    for quantity in quantities:
        yield number(c.octaves(quantity, c.choice), "{:+.2f}") if swept[quantity] else "not swept"
    for gap in (c.choice, c.held_out, c.published):
        yield "" if gap is None else percent(100 * gap.smooth, bound=gap.clipped)


def value_figures(readings: Sequence[LawReading], at: Workload, where: str) -> Iterator[Figure]:
    """What each law chooses at one workload, a picture a quantity."""
    from forescale.plots import value_chart

    for quantity in _quantities(readings):
        alt = f"The {QUANTITIES[quantity]} of each law {where}."
        yield figure(value_chart(readings, quantity, at), f"value-{quantity}", alt)


def slope_figures(readings: Sequence[LawReading]) -> Iterator[Figure]:
    """The exponents of each law, a picture an exponent of this law."""
    from forescale.plots import slope_chart

    for each in readings:
        if each.own:
            for variable in each.slopes:
                drawn = slope_chart(readings, each.quantity, variable)
                alt = f"The {symbol(variable)} in the {QUANTITIES[each.quantity]} of each law, with 80 % intervals."
                yield figure(drawn, f"slope-{each.quantity}-{variable}", alt)


def _quantities(readings: Sequence[LawReading]) -> list[str]:
    return list(dict.fromkeys(each.quantity for each in readings))


def readings_table(shown: Evidence, where: str) -> Table:
    """Every law at one workload, in numbers."""
    inputs = list(dict.fromkeys(name for each in shown.readings for name in each.slopes))
    rows: list[Row] = []
    for each in shown.readings:
        name = "this law" if each.own else each.name
        slopes = (each.slopes.get(i) for i in inputs)
        exponents = ("" if s is None else exponent(s.value) for s in slopes)
        rows.append((f"{QUANTITIES[each.quantity]}: {name}", setting(each.quantity, each.value.value), *exponents))
    caption = f"What each law says {where} ({cell_name(shown.middle)}): its value and exponents (slopes in logarithms)."
    head = ("law", "value", *(symbol(i) for i in inputs))
    return Table(caption=caption, head=head, rows=rows, strong=[i for i, r in enumerate(shown.readings) if r.own])


def residual_figures(cells: Sequence[CellEvidence], quantities: Sequence[str]) -> Iterator[Figure]:
    """Choices over optima against parameters and tokens, of the cells in which the quantity was swept."""
    from forescale.plots import residual_chart

    for quantity in quantities:
        axis = list(QUANTITIES).index(quantity)
        if swept := [cell for cell in cells if cell.cell.spread[axis]]:
            for variable in _varying(swept):
                alt = f"The law's {QUANTITIES[quantity]} over the measured optimum, in octaves, against {variable}."
                yield figure(residual_chart(swept, quantity, variable), f"residual-{quantity}-{variable}", alt)


def _varying(cells: Sequence[CellEvidence]) -> list[str]:
    """What to draw residuals against: what differs between the cells, the parameters where nothing does."""
    varying = [name for name in ("params", "tokens") if len({getattr(c.cell, name) for c in cells}) > 1]
    return varying or ["params"]


def condition_tables(law: Law, origin: Sequence[tuple[str, str]]) -> Iterator[Table]:
    """Where the law holds, and where it comes from."""
    rows: list[Row] = [(axis, count(low), count(high)) for axis, (low, high) in law.range.items()]
    yield Table(caption="The range on which the law was measured.", head=("axis", "from", "to"), rows=rows)
    yield facts("What the runs share; the law holds for that.", [("models", law.experts), *law.conditions.items()])
    yield facts("Where it comes from.", origin)
