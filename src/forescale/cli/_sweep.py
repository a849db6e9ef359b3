"""`forescale sweep`."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from forescale.cli._options import File, Flag, Number, OptionalFile, OptionalWhole
from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.cli._render_sweep import Ahead
    from forescale.sweep import Job
    from forescale.sweep.design import Budget, DesignFile, Speed
    from forescale.sweep.engines import Engine
    from forescale.sweep.store import Entry, Store

FAILED = 1
OPEN = (
    "workers",
    "threads",
    "device",
    "address",
    "slurm",
    "race",
)  # what the file's [engine] says and options say again


def sweep(
    design: File,
    /,
    *,
    store: str = "sweep.db",
    engine: str | None = None,
    dry_run: Flag = False,
    json: Flag = False,
    workers: OptionalWhole = None,
    threads: OptionalWhole = None,
    device: str | None = None,
    address: str | None = None,
    slurm: str | None = None,
    race: bool | None = None,
    flops_per_second: Number = None,
    folder: OptionalFile = None,
) -> None:
    """Make the runs of a design: a grid, a law's plateau, a suggestion or a table, by our trainer or any other.

    Prints runs, FLOPs, hours and money, then makes what the store does not have yet. Interrupted or killed, the same command
    goes on: no finished run is made twice. `forescale runs` looks at the store; `forescale fit` reads what it exports.

    Parameters
    ----------
    design
        The design, a TOML file (Concepts, Sweeps has its format).
    store
        The sweep's store: a file, or a database's address (postgresql://user@host/base).
    engine
        Where the runs are made: local (processes of this machine; the default), ray or slurm.
    dry_run
        Print the runs and what they cost; make none.
    json
        Print JSON (schema_version 1).
    workers
        Runs side by side (default: as many as the cores or GPUs allow).
    threads
        Threads of each run (default 1 on a CPU).
    device
        cpu, cuda or auto (default).
    address
        Of a Ray cluster (default: one is started here).
    slurm
        Of Slurm: partition=gpu,time=60,...
    race
        End runs early that their loss curves show to be dominated (default: what the design says, else every run is made to
        its end).
    flops_per_second
        The speed to count hours and money by, all workers together (default: that of runs that have finished, else
        measured).
    folder
        Folder of the runs' files (default: beside the store's file); an address needs it once.
    """
    from forescale.cli._threads import use_one_thread

    use_one_thread()
    from forescale.cli import _render_sweep as render
    from forescale.sweep.design import read_design

    given = {"workers": workers, "threads": threads, "device": device, "address": address, "slurm": slurm, "race": race}
    file = read_design(design)
    options = _options(file.engine, {**given, "engine": engine})
    budget = file.budget
    if flops_per_second is not None:
        budget = replace(budget, flops_per_second=parse_quantity(flops_per_second, "--flops-per-second"))
    workplace = None if dry_run and options["engine"] != "local" else _engine(options)
    ahead = _ahead(file, budget, _open(store, folder, create=False), workplace, options, store)
    if not json:
        render.print_ahead(ahead)
        sys.stdout.flush()
    elif dry_run:
        print(json_module.dumps(ahead.to_json(), indent=2, allow_nan=False))
    if dry_run:
        return
    if ahead.over:
        raise ForescaleError(ahead.over)
    opened = _open(store, folder, create=True)
    assert opened is not None
    assert workplace is not None
    _make(file, opened, workplace, race=bool(options["race"]), json=json, ahead=ahead)


def _options(of_file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options on where runs are made; what is given counts before what the file says."""
    made: dict[str, Any] = {name: given[name] if given[name] is not None else of_file.get(name) for name in OPEN}
    made["engine"] = given["engine"] or of_file.get("name") or "local"
    made["device"] = made["device"] or "auto"
    if given["engine"] not in (None, of_file.get("name", "local")):  # another engine than the file's: not its options
        made |= {name: given[name] for name in ("address", "slurm")}
    return made


def _engine(options: Mapping[str, Any]) -> Engine:
    from forescale.cli._engines import make_engine

    return make_engine(options)


def _open(where: str, folder: Path | None, *, create: bool) -> Store | None:
    """The store; None where it is not there and is not to be made."""
    from forescale.sweep.store import open_store

    if not create and "://" not in where and not Path(where).exists():
        return None
    return open_store(where, create=create, runs=folder)


def _ahead(
    file: DesignFile, budget: Budget, known: Store | None, engine: Engine | None, options: Mapping[str, Any], where: str
) -> Ahead:
    from forescale.cli._render_sweep import Ahead
    from forescale.sweep._job import ENDED
    from forescale.sweep.design import cost_of, over_budget

    entries = [] if known is None else known.jobs()
    ended = {entry.key for entry in entries if entry.state in ENDED}
    left = tuple(job for job in file.design.jobs if job.key not in ended)
    goes_on = {job.key for job in left} <= {entry.key for entry in entries}  # no budget stops what has begun
    at_once = engine.free if engine is not None else options["workers"] or 1
    speed = _speed(budget, entries, left, at_once, options)
    return Ahead(
        design=file.design,
        left=left,
        speed=speed,
        cost=cost_of(left, speed, budget),
        over="" if goes_on else over_budget(left, speed, budget),
        budget=budget,
        engine=options["engine"],
        at_once=at_once,
        store=where,
    )


def _speed(
    budget: Budget, entries: Sequence[Entry], left: Sequence[Job], at_once: int, options: Mapping[str, Any]
) -> Speed | None:
    from forescale.sweep.design import Speed, speed_here, speed_of_runs

    if budget.flops_per_second is not None:
        return Speed(flops_per_second=budget.flops_per_second, source="given")
    found = speed_of_runs(entries, at_once)
    return found or (speed_here(left, at_once, options["threads"] or 1, options["device"]) if left else None)


def _make(file: DesignFile, store: Store, engine: Engine, *, race: bool, json: bool, ahead: Ahead) -> None:
    """Add the runs to the store, make what is left, and print what came of it."""
    from forescale.cli import _render_sweep as render
    from forescale.sweep.engines import drive
    from forescale.sweep.race import Racing
    from forescale.train._interrupt import RunInterruptedError

    new = store.add(file.design.jobs, design=file.design.name)
    print(f"forescale: {new} new run{'s' * (new != 1)} in {store.where}", file=sys.stderr)
    try:
        drive(store, engine, racing=Racing() if race else None)
    except RunInterruptedError as interruption:
        _leave(str(interruption), interruption.exit_code)
    made = render.Made(entries=tuple(store.entry(job.key) for job in file.design.jobs), store=store, raced=race)
    if json:
        print(json_module.dumps(ahead.to_json() | made.to_json(), indent=2, allow_nan=False))
    else:
        render.print_made(made)
    if failed := made.failed:
        problem = failed[0].outcome.problem if failed[0].outcome else "no reason is known"
        _leave(f"{len(failed)} of {len(made.entries)} runs failed; {failed[0].key}: {problem}", FAILED)


def _leave(sentence: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"forescale: {sentence}", file=sys.stderr)
    sys.exit(code)
