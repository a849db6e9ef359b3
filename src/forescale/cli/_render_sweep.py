"""Print a sweep: what it will make and cost, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from forescale.cli._console import Column, left_out, make_console, make_table
from forescale.quantities import humanize, humanize_duration

if TYPE_CHECKING:
    from forescale.sweep import Job
    from forescale.sweep.design import Budget, Cost, Design, Speed
    from forescale.sweep.store import Entry, Store

CELL = ("params", "tokens")
SHOWN = ("learning_rate", "batch_tokens")
PLAIN = (
    *CELL,
    *SHOWN,
    "active_params",
    "batch_sequences",
    "steps",
    "weight_decay",
    "warmup_steps",
)  # follow from others
MOST = 6  # values of a column that are listed


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What a sweep will make and cost."""

    design: Design
    left: tuple[Job, ...]  # of the design's runs, those that have not ended
    speed: Speed | None
    cost: Cost  # of those that are left
    over: str  # why they are over the budget, and what to leave out
    budget: Budget
    engine: str
    at_once: int
    store: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; times in seconds."""
        speed = self.speed
        return {
            "schema_version": 1,
            "design": self.design.name,
            "store": self.store,
            "engine": self.engine,
            "at_once": self.at_once,
            "runs": len(self.design.jobs),
            "compute": self.design.compute,
            "left": self.cost.to_json(),
            "speed": None if speed is None else {"flops_per_second": speed.flops_per_second, "source": speed.source},
            "over_budget": self.over or None,
            "notes": list(self.design.notes),
            "jobs": [_job(job, speed) for job in self.design.jobs],
        }


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a sweep came to."""

    entries: tuple[Entry, ...]
    store: Store
    raced: bool

    @property
    def failed(self) -> list[Entry]:
        """Runs that failed."""
        return [entry for entry in self.entries if entry.state == "failed"]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; a loss is None where there is none, or where the run diverged."""
        return {"results": [_result(entry) for entry in self.entries]}


def print_ahead(ahead: Ahead) -> None:
    """The workloads of the design, the cost of what is left, and what to know."""
    console, design = make_console(), ahead.design
    done = len(design.jobs) - len(ahead.left)
    there = f", {done} of them in {ahead.store} already" if done else ""
    head = f"{design.name}: {len(design.jobs)} runs, {design.compute:.3g} FLOPs{there}"
    console.print(Text(head, style="bold"))
    rows = [_cell(jobs, ahead.speed) for jobs in _cells(design.jobs)]
    filled = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    table, dropped = make_table(console, [COLUMNS[i] for i in filled], [[row[i] for i in filled] for row in rows])
    console.print(table)
    if dropped:
        console.print(left_out(dropped), style="dim")
    if ahead.left:
        console.print(Text(_cost(ahead)))
    if ahead.over:
        console.print(Text.assemble(("! ", "yellow"), ahead.over))
    for note in design.notes:
        console.print(Text(f"{note}."), style="dim")


COLUMNS = [
    Column(name="N", justify="right"),
    Column(name="D", justify="right"),
    Column(name="runs", justify="right"),
    Column(name="learning rates", fold=24),
    Column(name="batches (tokens)", fold=20),
    Column(name="and", fold=20, drop=2),
    Column(name="FLOPs", justify="right", drop=1),
    Column(name="time", justify="right"),
]


def _cells(jobs: Sequence[Job]) -> list[list[Job]]:
    """The runs by workload; tokens that differ by less than 1 % are one."""
    cells: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        tokens = float(job.row.get("tokens") or 1.0)
        cells.setdefault((job.row.get("params"), round(math.log(tokens) * 50)), []).append(job)
    return list(cells.values())


def _cell(jobs: Sequence[Job], speed: Speed | None) -> list[str]:
    size = [humanize(float(jobs[0].row[name])) if jobs[0].row.get(name) else "" for name in CELL]
    seconds = "" if speed is None else humanize_duration(sum(speed.seconds(job) for job in jobs))
    rates = _listed([f"{rate:.2e}" for rate in _values(jobs, "learning_rate")])
    batches = _listed([humanize(batch) for batch in _values(jobs, "batch_tokens")])
    return [*size, str(len(jobs)), rates, batches, _others(jobs), f"{sum(j.compute for j in jobs):.2e}", seconds]


def _values(jobs: Sequence[Job], name: str) -> list[Any]:
    return sorted({job.row[name] for job in jobs if job.row.get(name) is not None})


def _others(jobs: Sequence[Job]) -> str:
    """What else differs: `seed 0, 1, 2; beta2 0.95, 0.99`."""
    names = [name for name in dict.fromkeys(n for job in jobs for n in job.row) if name not in PLAIN]
    different = {name: sorted({str(job.row.get(name)) for job in jobs}) for name in names}
    return "; ".join(f"{name} {_listed(values)}" for name, values in different.items() if len(values) > 1)


def _listed(values: Sequence[str]) -> str:
    values = list(dict.fromkeys(values))
    if len(values) <= MOST:
        return ", ".join(values)
    return f"{', '.join(values[: MOST - 1])} ... {values[-1]} ({len(values)})"


def _cost(ahead: Ahead) -> str:
    """`To make: 18 runs, 2.9e+13 FLOPs, about 4 min (...), 0.35 in money at 4 an hour`."""
    cost, speed = ahead.cost, ahead.speed
    parts = [f"To make: {cost.runs} runs, {cost.compute:.3g} FLOPs"]
    if cost.seconds is None or speed is None:
        parts.append("time not estimated: torch is not installed (--flops-per-second says how fast)")
    else:
        how = f"{ahead.engine}, {ahead.at_once} at once, {speed.flops_per_second:.3g} FLOP/s: {speed.source}"
        parts.append(f"about {humanize_duration(cost.seconds)} ({how})")
    if cost.money is not None:
        devices = f" for {ahead.budget.devices} devices" if ahead.budget.devices > 1 else ""
        parts.append(f"{cost.money:.2f} in money at {ahead.budget.price_per_hour:g} an hour{devices}")
    return ", ".join(parts) + "."


def _job(job: Job, speed: Speed | None) -> dict[str, Any]:
    seconds = None if speed is None else speed.seconds(job)
    return {"key": job.key, "trainer": job.trainer, "compute": job.compute, "seconds": seconds, **_plain(job.row)}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _result(entry: Entry) -> dict[str, Any]:
    loss = math.nan if entry.outcome is None else entry.outcome.loss
    problem = "" if entry.outcome is None else entry.outcome.problem
    return {
        "key": entry.key,
        "state": entry.state,
        "loss": loss if math.isfinite(loss) else None,
        "problem": problem,
        **{name: entry.job.row.get(name) for name in (*CELL, *SHOWN, "seed")},
    }


def print_made(made: Made) -> None:
    """States, the best run of every workload, and what to do with it."""
    console = make_console()
    states = {
        state: sum(e.state == state for e in made.entries) for state in dict.fromkeys(e.state for e in made.entries)
    }
    console.print(Text(", ".join(f"{count} {state}" for state, count in states.items()), style="bold"))
    rows = list(_best(made.entries))
    if rows:
        console.print(make_table(console, BEST, rows)[0])
    if made.raced:
        from forescale.sweep.race import report

        console.print(Text(report(made.store).sentence))
    where = f"--store {made.store.where}"
    console.print(Text(f"`forescale runs ls {where}` lists them; `forescale runs export {where} runs.csv` is for fit."))


BEST = [
    Column(name="N", justify="right"),
    Column(name="D", justify="right"),
    Column(name="best loss", justify="right"),
    Column(name="learning rate", justify="right"),
    Column(name="batch (tokens)", justify="right"),
    Column(name="run", justify="right", drop=1),
]


def _best(entries: Sequence[Entry]) -> Iterator[list[str]]:
    by_key = {entry.key: entry for entry in entries}
    for jobs in _cells([entry.job for entry in entries]):
        done = [(e.outcome.loss, e) for job in jobs if (e := by_key[job.key]).state == "done" and e.outcome]
        if done:
            loss, best = min(done, key=lambda each: each[0])
            row = best.job.row
            size = [humanize(float(row[name])) if row.get(name) else "" for name in (*CELL, "batch_tokens")]
            rate = f"{row['learning_rate']:.3g}" if row.get("learning_rate") else ""
            yield [size[0], size[1], f"{loss:.4f}", rate, size[2], best.key]
