"""Print a tuning: what it will run and what that costs, and what it came to; and write its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.cli._render_train import brief, show
from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from rich.console import Console

    from forescale.cli._read_tune import Before
    from forescale.recipe import Value
    from forescale.sweep.tune import Tuned, Verified

PAGE, LAW, RUNS = "report.html", "law.toml", "runs.csv"
FIRST = ("learning_rate", "batch_tokens")  # whose intervals are those of the calibration


def print_before(before: Before, folder: Path) -> None:
    """The target, the proxies of the whole budget, their cost, and what they will buy."""
    console, workload = make_console(), before.target.workload
    console.print(Text(_target(before), style="bold"))
    console.print(Text(f"budget {before.budget.text()}: {before.allowed:.3g} FLOPs; everything is kept in {folder}"))
    _print_proxies(console, before)
    share, seconds = before.compute / before.target.compute, before.compute / before.speed
    console.print(
        Text(
            f"{len(before.jobs)} proxies cost {before.compute:.3g} FLOPs ({share:.2%} of one run of the target), about "
            f"{humanize_duration(seconds)} here; rounds after the first are chosen by what it showed"
        )
    )
    if before.target_runs:
        whole = before.target_runs * before.target.compute
        runs = "1 run" if before.target_runs == 1 else f"{before.target_runs} runs"
        console.print(
            Text(f"then {runs} of the target: {whole:.3g} FLOPs, about {humanize_duration(whole / before.speed)}")
        )
    console.print(
        Text(
            f"the expected loss gap at {humanize(workload.params)} parameters and {humanize(workload.tokens)} tokens is to fall "
            f"from {before.before.loss_gap:.2%} to {before.after.loss_gap:.2%}"
        )
    )
    console.print()


def _target(before: Before) -> str:
    workload, shape = before.target.workload, before.target.shape
    return (
        f"target: {humanize(workload.params)} non-vocabulary parameters ({shape.layers} layers, width {shape.width}), "
        f"{humanize(workload.tokens)} tokens, {before.target.compute:.3g} FLOPs a run"
    )


def _print_proxies(console: Console, before: Before) -> None:
    cells: dict[tuple[float, float], list[dict[str, float]]] = {}
    for job in before.jobs:
        cells.setdefault((job.row["params"], round(job.row["tokens"], -4)), []).append(
            {**job.row, "compute": job.compute}
        )
    columns = [
        *(Column(name=name, justify="right") for name in ("N", "D", "runs")),
        Column(name="learning rates", fold=24),
        Column(name="batches (tokens)", fold=20),
        Column(name="FLOPs", justify="right"),
    ]
    rows = [
        [
            humanize(params),
            humanize(tokens),
            str(len(runs)),
            ", ".join(f"{rate:.3g}" for rate in sorted({run["learning_rate"] for run in runs})),
            ", ".join(humanize(batch) for batch in sorted({run["batch_tokens"] for run in runs})),
            f"{sum(run['compute'] for run in runs):.2e}",
        ]
        for (params, tokens), runs in cells.items()
    ]
    table, dropped = make_table(console, columns, rows)
    console.print(table)
    if dropped:
        console.print(left_out(dropped), style="dim")


def print_tuned(found: Tuned) -> None:
    """The recipe with its reasons, what it rests on, and how close it came."""
    console = make_console()
    for line in _what_was_run(found):
        console.print(Text(line))
    console.print()
    width = max(map(len, vars(found.run.recipe)))
    for name, value in vars(found.run.recipe).items():
        line = Text(f"{name:<{width}}  {show(name, value.value):>9}  {_interval(found, name, value)}")
        line.stylize("bold cyan", 0, width + 11)
        console.print(line)
        console.print(Text(f"    {brief(value)}", style="dim"))
    console.print()
    for line in _how_close(found):
        console.print(Text(line))
    for warning in (*found.calibration.warnings, *found.notes):
        console.print(Text(f"! {warning}."))


def _what_was_run(found: Tuned) -> Iterator[str]:
    before = found.calibration.before
    yield f"expected loss gap at the target before any run: {before.loss_gap:.2%}"
    for each in found.rounds:
        yield (
            f"round {each.number}: {each.losses} of {len(each.entries)} proxies ended with a loss, "
            f"{each.compute / found.target.compute:.2%} of the target's compute; expected loss gap {each.after.loss_gap:.2%}"
        )
    yield f"no more rounds: {found.ended}"


def _interval(found: Tuned, name: str, value: Value) -> str:
    if name in FIRST:
        low, high = found.interval(name)
        return f"the best: {show(name, low)} to {show(name, high)} (80 %)"
    return "" if value.low is None or value.high is None else f"{show(name, value.low)} to {show(name, value.high)}"


def _how_close(found: Tuned) -> Iterator[str]:
    if found.verified is not None:
        yield from _verified(found.verified)
    elif found.loss is not None:
        yield f"the target, trained by this recipe: loss {found.loss:.4f} nats per token"
    else:
        yield "train it: the same command with --train-target, or with --verify 6 to see how close it came"


def _verified(found: Verified) -> Iterator[str]:
    yield (
        f"the target by this recipe: loss {found.predicted.loss:.4f}; the lowest of {len(found.others)} more runs around it: "
        f"{found.lowest.loss:.4f} at learning rate {found.lowest.learning_rate:.3g} and batch "
        f"{humanize(found.lowest.batch_tokens)}"
    )
    yield f"true gap of the prediction: {found.gap:.2%} above the lowest run (the noise of one seed is in it)"
    if found.published is not None and found.published_gap is not None:
        yield (
            f"published Step Law, learning rate {found.published.learning_rate:.3g} and batch "
            f"{humanize(found.published.batch_tokens)}: loss {found.published.loss:.4f}, {found.published_gap:.2%} above it"
        )


def write_files(found: Tuned, folder: Path, command: str) -> Iterator[Path]:
    """The page, which names the command line, the calibrated law and the proxies' table; each path once it is written."""
    from forescale.cli._outputs import write
    from forescale.laws import law_toml
    from forescale.report import tune_report

    made = {PAGE: tune_report(found, command=command), LAW: law_toml(found.calibration.law)}
    for name, text in made.items():
        write(folder / name, text.encode())
        yield folder / name
    if found.runs is not None:
        found.runs.frame.write_csv(folder / RUNS)
        yield folder / RUNS
