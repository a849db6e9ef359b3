"""A design file: what every run trains, which runs to make, where, and what they may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.quantities import parse_duration
from forescale.sweep.command import Command, LossRule
from forescale.sweep.command._loss import Source
from forescale.sweep.design._common import RECIPE, TRAINER, WORKLOAD, Common, absolute_paths
from forescale.sweep.design._cost import Budget
from forescale.sweep.design._design import Design
from forescale.sweep.design._file import Table, check_keys, flag, named, read_toml, table, take, text
from forescale.sweep.design._kinds import make_kind
from forescale.sweep.design._values import LISTS, read_number, read_texts, read_value, read_whole

TABLES = ("workload", "recipe", "design", "command", "engine", "budget")
ENGINE = (
    *("name", "workers", "threads", "device", "address", "slurm", "time_limit", "checkpoint_every", "eval_every"),
    "race",
)
EXECUTION = ("threads", "device", "checkpoint_every", "eval_every")  # of [engine]: fields of a run's config
BUDGET = ("flops", "time", "money", "price_per_hour", "devices", "flops_per_second")
COMMAND = tuple(f.name for f in fields(Command))
TEXTS = ("run", "curve", "resume", "checkpoint")  # of [command]
LOSSES: tuple[Source, ...] = ("json", "json_lines", "csv", "runs")


@dataclass(frozen=True, kw_only=True)
class DesignFile:
    """What a design file says."""

    path: Path
    design: Design
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])  # name, workers, device, slurm, race, ...
    budget: Budget = field(default_factory=Budget)


def read_design(path: str | Path) -> DesignFile:
    """Read a design file (TOML; the page of sweeps has the format in full). Its paths are relative to its folder.

    Raises `ForescaleError` with the file's name for a key that nothing reads, a value that cannot be, and runs that cannot.
    """
    path = Path(path)
    content = read_toml(path)
    with named(path):
        check_keys(content, TABLES, "a design has no table")
        engine = _engine(table(content, "engine", ENGINE))
        common, axes = _common(content, path.parent, engine)
        design = make_kind(table(content, "design"), common, axes, path)
        return DesignFile(path=path, design=design, engine=engine, budget=_budget(table(content, "budget", BUDGET)))


def _common(content: Table, folder: Path, engine: Table) -> tuple[Common, dict[str, list[Any]]]:
    """What the runs share, and the values that are lists: axes."""
    command = _command(table(content, "command", COMMAND), folder) if "command" in content else None
    own = () if command is None else tuple(command.fields)
    values: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    recipe = table(content, "recipe", (*RECIPE, *TRAINER, "seed", "law", "runs", *own))
    for name, value in {**table(content, "workload", (*WORKLOAD, "steps", *own)), **recipe}.items():
        if name in ("law", "runs"):
            continue
        if isinstance(value, list) and name not in (*LISTS, "held_out"):
            axes[name] = [read_value(name, each) for each in cast("list[Any]", value)]
        else:
            values[name] = read_value(name, value)
    runs = take(recipe, "runs", text)
    common = Common(
        values=absolute_paths(values, folder),
        command=command,
        laws=take(recipe, "law", read_texts) or (),
        execution={name: engine[name] for name in EXECUTION if name in engine},
        time_limit=engine.get("time_limit"),
    )
    return (common if runs is None else replace(common, runs=_runs(folder / runs))), axes


def _runs(path: Path) -> Any:
    from forescale.runs import read_runs

    return read_runs(path)


def _command(found: Table, folder: Path) -> Command:
    if "run" not in found:
        raise ForescaleError(
            '[command] needs run, the command with its fields: run = "python train.py --lr {learning_rate}".'
        )
    env = {name: text(f"env.{name}", value) for name, value in table(found, "env").items()}
    made: dict[str, Any] = {name: text(name, found[name]) for name in TEXTS if name in found}
    made |= {
        "cwd": str(folder.absolute() / text("cwd", found.get("cwd", ""))),
        "env": env,
        "loss": _loss(found.get("loss", {})),
    }
    made |= {"shell": flag("shell", found["shell"])} if "shell" in found else {}
    made |= {"grace": parse_duration(found["grace"], "grace")} if "grace" in found else {}
    return Command(**made)


def _loss(found: Any) -> LossRule:
    """`{ pattern = "..." }`, or a file under the name of its kind: `{ csv = "log.csv", column = "val_loss" }`."""
    if isinstance(found, str):
        return LossRule(pattern=found)
    if not isinstance(found, Mapping):
        raise ForescaleError(
            f'loss must be a pattern or a table; got {found!r}: {{ json = "eval.json", key = "loss" }}.'
        )
    rule = cast(Table, found)
    kinds: list[Source] = [kind for kind in LOSSES if rule.get(kind) is not None]
    check_keys(rule, (*LOSSES, "pattern", "key", "column"), "a rule for the loss has no")
    if len(kinds) + ("pattern" in rule) > 1:
        raise ForescaleError(f"a loss has one source; got {', '.join(rule)}: give one.")
    if not kinds:
        return LossRule(pattern=text("pattern", rule["pattern"])) if "pattern" in rule else LossRule()
    key = str(rule.get("key", rule.get("column", "")))
    return LossRule(source=kinds[0], file=text(kinds[0], rule[kinds[0]]), key=key)


def _engine(found: Table) -> dict[str, Any]:
    readers: dict[str, Callable[[str, Any], Any]] = {
        **dict.fromkeys(("name", "device", "address"), text),
        **dict.fromkeys(("workers", "threads", "checkpoint_every", "eval_every"), read_whole),
        "slurm": _slurm,
        "time_limit": lambda name, value: parse_duration(value, name),
        "race": flag,
    }
    return {name: readers[name](name, value) for name, value in found.items()}


def _slurm(name: str, value: Any) -> str:
    """`partition=gpu,time=60`, as the option of that name has it; a table says the same."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in cast(Table, value).items())
    return text(name, value)


def _budget(found: Table) -> Budget:
    made: dict[str, Any] = {name: take(found, name, read_number) for name in BUDGET if name not in ("time", "devices")}
    made["seconds"] = take(found, "time", lambda name, value: parse_duration(value, name))
    made["devices"] = take(found, "devices", read_whole) or 1
    return Budget(**made)
