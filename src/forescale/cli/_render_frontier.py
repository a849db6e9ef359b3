"""Print a frontier: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forescale.plan.frontier import Doubt, Frontier, OtherSize, Point
    from forescale.recipe import Value

TRADED = {"seconds": "time", "compute": "compute", "lifetime_compute": "lifetime compute", "loss": "loss"}
COLUMNS = (
    Column(name="time", justify="right"),
    Column(name="FLOPs", justify="right"),
    Column(name="loss", justify="right"),
    Column(name="params", justify="right"),
    Column(name="tokens", justify="right"),
    Column(name="per param", justify="right", drop=1),
    Column(name="batch_tokens", justify="right"),
    Column(name="/ critical", justify="right", drop=5),
    Column(name="steps", justify="right", drop=3),
)
LIFETIME = Column(name="lifetime FLOPs", justify="right")
DEVICES = Column(name="devices", justify="right", drop=2)
COST = Column(name="cost", justify="right")
ENERGY = Column(name="energy", justify="right")
MEASURED = Column(name="measured here?", drop=4)


def print_json(made: Frontier) -> None:
    """The frontier as JSON on standard output."""
    print(json.dumps(made.to_json(), indent=2, allow_nan=False))


def print_frontier(made: Frontier) -> None:
    """The points, the chosen one and its reasons, other sizes, other critical batches, assumptions and cautions."""
    console = make_console()
    console.print(Text(_headline(made), style="bold"))
    console.print()
    _print_points(console, made)
    console.print()
    _print_choice(console, made)
    if made.other_sizes:
        console.print()
        _print_sizes(console, made)
    console.print()
    _print_doubts(console, made)
    console.print()
    _print_assumptions(console, made)
    console.print()
    for warning in made.warnings:
        console.print(Text.assemble(("! ", "yellow"), (f"{warning.code}: ", "bold"), warning.message))


def _headline(made: Frontier) -> str:
    goal = made.problem.goal
    parts: list[str] = []
    if goal.loss is not None:
        parts.append(f"loss {goal.loss:g}")
    if goal.compute is not None:
        parts.append(f"at most {goal.compute:.3g} FLOPs")
    if goal.deadline is not None:
        parts.append(f"within {humanize_duration(goal.deadline)}")
    if goal.served:
        parts.append(f"{humanize(goal.served)} tokens served")
    first, second = (TRADED[key] for key in made.trade)
    return f"{', '.join(parts)} · {first} against {second} · {_machines(made)} · sequences of {goal.seq_len}"


def _machines(made: Frontier) -> str:
    cluster = made.problem.cluster
    if cluster.seconds_per_step is not None:
        return f"{humanize_duration(cluster.seconds_per_step)} a step"
    name = cluster.device.title if isinstance(cluster.flops, str) else f"{cluster.flops:.3g} FLOP/s"
    count = "any number" if cluster.devices is None else f"up to {cluster.devices:,}"
    return f"{count} of {name} at {cluster.utilisation:.0%}"


def _columns(made: Frontier) -> list[Column]:
    columns = list(COLUMNS)
    if made.problem.goal.served:
        columns.insert(2, LIFETIME)
    if made.chosen.devices is not None:
        columns.append(DEVICES)
    if made.chosen.cost is not None:
        columns.append(COST)
    if made.chosen.joules is not None:
        columns.append(ENERGY)
    return [*columns, MEASURED]


def _cells(point: Point, columns: Sequence[Column]) -> list[str]:
    share = point.batch_tokens / point.critical_batch_tokens
    shown: Mapping[str, str] = {
        "time": humanize_duration(point.seconds),
        "FLOPs": f"{point.compute:.3g}",
        "lifetime FLOPs": f"{point.lifetime_compute:.3g}",
        "loss": f"{point.loss:.3f}",
        "params": humanize(point.params),
        "tokens": humanize(point.tokens),
        "per param": _ratio(point),
        "batch_tokens": humanize(point.batch_tokens),
        "/ critical": f"{share:.2g}",
        "steps": f"{point.steps:,}",
        "devices": "" if point.devices is None else f"{point.devices:,}",
        "cost": "" if point.cost is None else f"{point.cost:,.0f}" if point.cost >= 100 else f"{point.cost:.3g}",
        "energy": "" if point.joules is None else _energy(point.joules),
        "measured here?": _measured(point.outside),
    }
    return [shown[column.name] for column in columns]


def _energy(joules: float) -> str:
    kilowatt_hours = joules / 3.6e6
    for unit, size in (("GWh", 1e6), ("MWh", 1e3)):
        if kilowatt_hours >= size:
            return f"{kilowatt_hours / size:.3g} {unit}"
    return f"{kilowatt_hours:.3g} kWh"


def _measured(outside: Mapping[str, Mapping[str, float]]) -> str:
    """How far beyond the laws' ranges, the farther law on each axis."""
    from forescale.laws import SYMBOLS

    farthest: dict[str, float] = {}
    for axes in outside.values():
        for axis, factor in axes.items():
            farthest[axis] = max(factor, farthest.get(axis, 0.0))
    parts = [f"{SYMBOLS.get(axis, axis)} {factor:.3g}x" for axis, factor in farthest.items()]
    return f"no: {', '.join(parts)}" if parts else "yes"


def _print_points(console: Console, made: Frontier) -> None:
    marked = Column(name="")
    columns = _columns(made)
    rows = [["->" if point == made.chosen else "", *_cells(point, columns)] for point in made.points]
    _print_table(console, [marked, *columns], rows, "no other run is better in both")


def _print_choice(console: Console, made: Frontier) -> None:
    point = made.chosen
    sizes = f"{humanize(point.params)} parameters, {humanize(point.tokens)} tokens, batches of {humanize(point.batch_tokens)}"
    console.print(Text.assemble(("-> ", "bold cyan"), (f"{sizes} ", "bold"), _interval(made)))
    lines = [(name, Text(why, style="dim")) for name, why in made.reasons.items()]
    console.print(Padding(_listed(lines), (0, 0, 0, 3)))


def _listed(lines: Sequence[tuple[str, Text]]) -> Table:
    """Names, and beside each a text that wraps under itself."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, text in lines:
        grid.add_row(name, text)
    return grid


def _interval(made: Frontier) -> str:
    point, loss = made.chosen, made.loss
    if point.loss_low is None or point.loss_high is None:
        return f"(loss {point.loss:.3f}, {loss.interval})"
    return f"(loss {point.loss:.3f}, 80 %: {point.loss_low:.3f} to {point.loss_high:.3f}, tokenizers of other labs included)"


def _print_sizes(console: Console, made: Frontier) -> None:
    """Other sizes, each against the chosen run."""
    by_loss = made.problem.goal.loss is not None
    compared = ("time", "compute") if by_loss else ("loss",)
    columns = [Column(name=n, justify="right") for n in ("params", "tokens", "per param", "batch_tokens", *compared)]
    if by_loss:
        columns.append(Column(name="beaten in both?", drop=1))
    rows = [_size_cells(other, made) for other in made.other_sizes]
    title = "other sizes, each by the same weights" if by_loss else "other sizes in the time and compute of the choice"
    _print_table(console, columns, rows, title)


def _size_cells(other: OtherSize, made: Frontier) -> list[str]:
    point, chosen = other.point, made.chosen
    sizes = [humanize(point.params), humanize(point.tokens), _ratio(point), humanize(point.batch_tokens)]
    if made.problem.goal.loss is None:
        return [*sizes, f"{100 * (point.loss / chosen.loss - 1):+.2f} %"]
    time, compute = point.seconds / chosen.seconds, point.lifetime_compute / chosen.lifetime_compute
    return [*sizes, f"x {time:.3g}", f"x {compute:.3g}", "yes" if other.dominated else "no"]


def _ratio(point: Point) -> str:
    ratio = point.tokens_per_param
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"


def _print_doubts(console: Console, made: Frontier) -> None:
    """The chosen run by other critical batches."""
    columns = [
        Column(name="critical batch by"),
        *(Column(name=n, justify="right") for n in ("B_crit", "loss", "change")),
        Column(name="evidence", drop=2),
        Column(name="measured here?", drop=1),
    ]
    rows = [_doubt_cells(doubt, made) for doubt in made.doubts]
    _print_table(console, columns, rows, "the same run, were the critical batch another")


def _doubt_cells(doubt: Doubt, made: Frontier) -> list[str]:
    name = doubt.law if doubt.factor == 1 else f"{doubt.law} x {doubt.factor:g}"
    change = 100 * (doubt.loss / made.chosen.loss - 1)
    measured = {None: "no range stated", True: "yes", False: "no"}[doubt.in_range]
    return [
        name,
        humanize(doubt.critical_batch_tokens),
        f"{doubt.loss:.3f}",
        f"{change:+.2f} %",
        doubt.evidence,
        measured,
    ]


def _print_assumptions(console: Console, made: Frontier) -> None:
    console.print(Text("assumed", style="bold"))
    console.print(_listed([(name, _assumed(value)) for name, value in made.assumptions.items()]))


def _assumed(value: Value) -> Text:
    number = value.value
    shown = number if isinstance(number, str) else f"{number:.3g}" if abs(number) >= 1e6 else f"{number:g}"
    unit = f" {value.unit}" if value.unit and not isinstance(number, str) else ""
    evidence = " (unverified)" if value.evidence == "unverified" else ""
    return Text.assemble(f"{shown}{unit}{evidence}  ", (value.reason, "dim"))


def _print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    table, dropped = make_table(console, columns, rows)
    console.print(Text(title, style="italic"))  # not the table's own, which would wrap at its width
    console.print(table)
    if dropped:
        console.print(Text(left_out(dropped), style="dim"))
