"""Print a plan: a table for people, JSON for programs, a derivation for the curious."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from math import log2
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.quantities import humanize

if TYPE_CHECKING:
    from rich.console import Console

    from forescale.fit.calibrate import Calibration
    from forescale.noise.schedule import BatchSchedule
    from forescale.plan import Axis, Plan
    from forescale.plan.export import Export
    from forescale.recipe import Value

COUNTS = ("batch_tokens",)
INTERVALS = (
    "interval: 80 % for a law: its fit and, for learning rate, batch and loss, its error on other labs' runs; for a "
    "convention the range of its sources; see --explain"
)
STAGES = 8  # of a batch schedule that are shown
WHOLE = ("steps", "batch_sequences", "warmup_steps")


def print_json(plan: Plan, exported: Export | None) -> None:
    """The plan as JSON on standard output; an export's text and notes under `export`."""
    document = plan.to_json()
    if exported is not None:
        document["export"] = {
            "target": exported.target,
            "version": exported.version,
            "filename": exported.filename,
            "text": exported.text,
            "notes": [{"message": n.message, "loss": n.loss} for n in exported.notes],
        }
    print(json.dumps(document, indent=2, allow_nan=False))


def print_plan(plan: Plan) -> None:
    """The recipe, what being wrong costs, the other laws, and the cautions."""
    console = make_console()
    console.print(Text(_headline(plan), style="bold"))
    console.print()
    _print_recipe(console, plan)
    console.print(Text(INTERVALS, style="dim"))
    if plan.batch_schedule is not None:
        console.print()
        console.print(Text.assemble(("batch schedule ", "bold"), _batches(plan, plan.batch_schedule)))
    if plan.calibration is not None:
        console.print()
        console.print(Text.assemble(("runs ", "bold"), _calibrated(plan.calibration)))
    console.print()
    console.print(Text.assemble(("loss ", "bold"), _loss(plan)))
    console.print()
    _print_plateau(console, plan)
    console.print()
    _print_alternatives(console, plan)
    console.print()
    for warning in plan.warnings:
        console.print(Text.assemble(("! ", "yellow"), (f"{warning.code}: ", "bold"), warning.message))


def _batches(plan: Plan, schedule: BatchSchedule) -> str:
    """From how many tokens on which batch, and the steps that come of it."""
    steps = schedule.steps(plan.run_tokens)
    stages = [f"{stage.sequences:,} sequences from {humanize(stage.tokens)}" for stage in schedule.stages]
    shown = stages if len(stages) <= STAGES else [*stages[: STAGES - 2], "...", stages[-1]]
    return (
        f"{', '.join(shown)} tokens on; {steps.count:,} optimizer steps, mean batch {humanize(steps.mean_batch)} tokens; "
        f"learning rate rule: {schedule.lr_rule} ({'; '.join(schedule.reasons)})"
    )


def _calibrated(found: Calibration) -> str:
    """What the runs taught, in one sentence."""
    before, after, count = found.before, found.after, len(found.cells)
    return (
        f"{found.runs['source']}, {count} cell{'' if count == 1 else 's'}: the best learning rate is known to "
        f"{after.learning_rate.octaves:.2f} octaves and the batch to {after.batch_tokens.octaves:.2f} (one s.d.), "
        f"{before.learning_rate.octaves:.2f} and {before.batch_tokens.octaves:.2f} without the runs; expected loss gap "
        f"{100 * after.loss_gap:.2g} %, {100 * before.loss_gap:.2g} % without"
    )


def print_explanation(plan: Plan) -> None:
    """One block a number: value, interval, formula, source and range."""
    console = make_console()
    console.print(Text(_headline(plan), style="bold"))
    for number, (name, value) in enumerate(_values(plan), start=1):
        low_high = _interval(name, value)
        console.print(Text.assemble((f"\n{number}) {name} = {_show(name, value.value)}", "bold"), f" {value.unit}"))
        console.print(Text(f"   why    {value.reason}"))
        if low_high:
            console.print(Text(f"   range  {low_high}   [{value.interval}]"))
        console.print(
            Text(f"   law    {value.law}{f' ({value.evidence})' if value.evidence else ''}" + _measured_text(value))
        )
    if plan.batch_schedule is not None:
        console.print(Text.assemble(("\nbatch schedule ", "bold"), _batches(plan, plan.batch_schedule)))
    console.print(Text("\nplateau", style="bold"), Text(f"[{plan.plateau.source}]"))
    _print_plateau(console, plan)
    for warning in plan.warnings:
        console.print(Text.assemble(("! ", "yellow"), (f"{warning.code}: ", "bold"), warning.message))


def _values(plan: Plan) -> Iterator[tuple[str, Value]]:
    yield "compute", plan.compute
    yield "loss", plan.loss
    for f in fields(plan.recipe):
        yield f.name, getattr(plan.recipe, f.name)


def _headline(plan: Plan) -> str:
    w = plan.workload
    size = f"{humanize(w.params)} non-vocabulary parameters"
    if w.is_moe:
        size += f" ({humanize(w.active)} active)"
    if w.total_params is not None:
        size += f", {humanize(w.total_params)} in all"
    return (
        f"{w.source}: {size} · {humanize(w.tokens)} tokens ({w.tokens_per_param:.3g} per parameter) · "
        f"sequences of {w.seq_len} · {plan.compute.number:.3g} FLOPs"
    )


def _print_recipe(console: Console, plan: Plan) -> None:
    """Two lines a number: what it is and how sure, then why."""
    rows = [
        (f.name, _show(f.name, value.value), _interval(f.name, value), value.law, _measured(value), _brief(value))
        for f in fields(plan.recipe)
        if (value := getattr(plan.recipe, f.name))
    ]
    heads = ("hyperparameter", "value", "interval", "law", "measured here?")
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads)]
    console.print(Text(_line(heads, widths), style="bold"))
    for *cells, why in rows:
        line = Text(_line(cells, widths))
        line.stylize("bold cyan", 0, widths[0] + widths[1] + 2)
        console.print(line)
        console.print(Padding(Text(why, style="dim"), (0, 0, 0, 4)))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, value, *rest = (
        cell.rjust(w) if i == 1 else cell.ljust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((name, value, *rest)).rstrip()


def _brief(value: Value) -> str:
    """The reason without its bracketed source; of a convention only the first clause. --explain shows the rest."""
    reason = value.reason.split(" [")[0]
    return reason.split(";")[0] if value.law == "convention" else reason


def _print_plateau(console: Console, plan: Plan) -> None:
    axes = (("learning_rate", plan.plateau.learning_rate), ("batch_tokens", plan.plateau.batch_tokens))
    factors = sorted({cost.factor for _, axis in axes for cost in axis.costs})
    # The far factors go first, then the near ones, then the wider band.
    far = {factor: 2 + round(abs(log2(factor))) for factor in factors}
    bands = axes[0][1].bands
    columns = [
        Column(name=""),
        *(Column(name=f"within {b.loss_gap_percent:g} % of loss", drop=int(i > 0)) for i, b in enumerate(bands)),
        *(Column(name=f"x {factor:g}", justify="right", drop=far[factor]) for factor in factors),
    ]
    rows = [[name, *_axis_cells(name, axis, factors)] for name, axis in axes]
    _print_table(console, columns, rows, "what being wrong costs")


def _print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    table, dropped = make_table(console, columns, rows, title=title)
    console.print(table)
    if dropped:
        console.print(Text(left_out(dropped), style="dim"))


def _axis_cells(name: str, axis: Axis, factors: Sequence[float]) -> list[str]:
    bands = [f"{_show(name, band.low)} to {_show(name, band.high)}" for band in axis.bands]
    costs = {cost.factor: f"+{cost.loss_gap_percent:.2g} %" for cost in axis.costs}
    return bands + [costs.get(factor, "unknown") for factor in factors]


BEST = "(best)"
ALTERNATIVES = (
    Column(name="law"),
    Column(name="learning_rate", justify="right"),
    Column(name="batch_tokens", justify="right"),
    Column(name="expected loss gap", justify="right"),
    Column(name="measured here?", fold=16, drop=1),
    Column(name="note", fold=16, drop=2),
)


def _print_alternatives(console: Console, plan: Plan) -> None:
    rows: list[list[str]] = []
    for a in plan.alternatives:
        gap = "unknown" if a.loss_gap_percent is None else f"+{a.loss_gap_percent:.2f} %"
        rate, batch = (
            _show(n, v) if v is not None else BEST if n in a.assumed else ""
            for n, v in (("learning_rate", a.learning_rate), ("batch_tokens", a.batch_tokens))
        )
        rows.append([a.law, rate, batch, gap, _in_range(a.in_range, a.outside), a.note])
    _print_table(console, ALTERNATIVES, rows, "what other laws would choose")
    if any(a.assumed for a in plan.alternatives):
        console.print(Text(f"{BEST}: the law leaves it open, so the gap takes it at its best", style="dim"))


def _loss(plan: Plan) -> str:
    loss = plan.loss
    interval = _interval("loss", loss)
    return (
        f"{loss.number:.3f} {loss.unit}"
        + (f" ({interval})" if interval else "")
        + f", {loss.law}{_measured_text(loss)}"
    )


def _show(name: str, value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    if name in COUNTS:
        return humanize(value, 4)
    if name in WHOLE:
        return f"{value:,.0f}"
    return f"{value:.3g}" if name != "loss" else f"{value:.3f}"


def _interval(name: str, value: Value) -> str:
    if value.low is None or value.high is None:
        return ""
    if value.low == value.high:
        return "" if value.value == value.low else _show(name, value.low)
    return f"{_show(name, value.low)} to {_show(name, value.high)}"


def _measured(value: Value) -> str:
    return "" if value.in_range is None else _in_range(value.in_range, value.outside)


def _in_range(in_range: bool | None, outside: Mapping[str, float]) -> str:
    if in_range is None:
        return "no range stated"
    return "yes" if in_range else f"no: {_beyond(outside)}"


def _beyond(outside: Mapping[str, float]) -> str:
    from forescale.laws import SYMBOLS

    return ", ".join(f"{SYMBOLS.get(axis, axis)} {_factor(factor)}" for axis, factor in outside.items())


def _factor(factor: float) -> str:
    return f"{factor:.3g}x" if factor < 1000 else f"{factor:,.0f}x"


def _measured_text(value: Value) -> str:
    if value.in_range is None:
        return ""
    if value.in_range:
        return ", inside its measured range"
    return f", outside its measured range by {_beyond(value.outside)}"
