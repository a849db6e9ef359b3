"""A third party's trainer as a value, and the jobs that it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.sweep._job import COLUMNS, Job
from forescale.sweep.command._loss import LossRule, check_pattern
from forescale.sweep.command._template import arguments, fields, fill, listed, split

RUNTIME: Mapping[str, Any] = {"out": "/run/out", "threads": 1}
"""Fields that are known when the run starts, with values to try a template on."""

GRACE = 10.0
SIZES = ("depth", "width", "heads")  # of a planned shape: columns of the row beside `COLUMNS`
MANNER = ("curve", "resume", "checkpoint", "grace")  # of a command: what may change when a run goes on
# What a command may use in place of a value: any of these follows from it alone.
SAME: Mapping[str, tuple[str, ...]] = {
    "batch_tokens": ("batch_sequences",),
    "batch_sequences": ("batch_tokens",),
    "params": ("width", "depth", "heads"),
    "tokens": ("steps",),
    "tokens_per_param": ("tokens", "steps"),
    "steps": ("tokens",),
    "timescale": ("weight_decay",),
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A trainer to start by a command, with fields in braces: `torchrun train.py --lr {learning_rate:.3e} --dir {out}`.

    Fields are those of the recipe and the workload, `seed`, `data`, `out` (a folder of the run's own for its files),
    `threads`, and any others that the design names. The command is split as a shell would and started without one.
    Raises `ForescaleError` for a template or a pattern that cannot be read.
    """

    run: str
    loss: LossRule = field(default_factory=LossRule)
    curve: str = ""  # a regular expression of its output with two groups, step and loss: what racing looks at
    cwd: str | None = None  # where it is started; None: where the driver was
    env: Mapping[str, str] = field(default_factory=dict[str, str])  # added to the environment; values may have fields
    shell: bool = False  # the command is a line for sh, its fields quoted
    resume: str = ""  # the command that goes on from a checkpoint of an earlier attempt; empty: the same command again
    checkpoint: str = "*"  # a pattern of the files in `{out}` that `resume` needs one of
    grace: float = GRACE  # seconds between asking it to end (SIGTERM) and ending it (SIGKILL)

    def __post_init__(self) -> None:
        for template in (self.run, *([self.resume] if self.resume else [])):
            split(template)
        _ = self.fields  # each can be read
        if self.curve:
            check_pattern(self.curve, 2, "the curve")
        if not 0 <= self.grace < float("inf"):
            raise ForescaleError(f"grace is a number of seconds, 0 or more; got {self.grace!r}: correct it.")

    @property
    def curve_pattern(self) -> re.Pattern[str] | None:
        """The pattern of the curve, None where none is read."""
        return re.compile(self.curve) if self.curve else None

    @property
    def started_with(self) -> frozenset[str]:
        """The fields of the command and its environment, which decide which run it is."""
        return frozenset(name for template in (self.run, *self.env.values()) for name in fields(template))

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields."""
        return self.started_with | frozenset(fields(self.resume))


def command_job(
    command: Command,
    values: Mapping[str, Any],
    *,
    compute: float,
    row: Mapping[str, Any] | None = None,
    swept: Iterable[str] = (),
    execution: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
) -> Job:
    """The job of a run of `command` with the fields `values`; `row` is what its runs table says of it (None: `values`).

    `swept` are the names in which the runs of a design differ. The key is the hash of the command and of the fields in it.
    Raises `UnknownNameError` for a field that is not in `values` and for a swept value that the command does not use,
    `ForescaleError` for a format that does not fit.
    """
    _check_swept(command, swept)
    _try(command, {**values, **RUNTIME})
    used = {name: values[name] for name in sorted(command.fields) if name in values}
    own = {name: value for name, value in used.items() if name not in {*COLUMNS, *SIZES, "data"}}
    said = {name: value for name, value in (values if row is None else row).items() if name in COLUMNS + SIZES}
    resumed = {name: used.pop(name) for name in list(used) if name not in command.started_with}
    return Job(
        trainer="command",
        settings={"command": _identity(command), "fields": used},
        row=said | own,
        compute=compute,
        execution={**{name: getattr(command, name) for name in MANNER}, "fields": resumed, **(execution or {})},
        time_limit=time_limit,
    )


def _try(command: Command, values: Mapping[str, Any]) -> None:
    """Fill every template once, so that what is wrong is said before anything starts."""
    for template in filter(None, (command.run, command.resume)):
        arguments(template, values, shell=command.shell)
    for template in command.env.values():
        fill(template, values)


def command_of(job: Job) -> Command:
    """The command of a job that `command_job` made."""
    made: dict[str, Any] = {**job.settings["command"], **{name: job.execution[name] for name in MANNER}}
    made["loss"] = LossRule(**made["loss"])
    return Command(**made)


def _identity(command: Command) -> dict[str, Any]:
    """What decides which run it is."""
    names = ("run", "cwd", "shell")
    return {name: getattr(command, name) for name in names} | {
        "env": dict(command.env),
        "loss": command.loss.to_json(),
    }


def _check_swept(command: Command, swept: Iterable[str]) -> None:
    for name in swept:
        if command.fields.isdisjoint((name, *SAME.get(name, ()))):
            near = get_close_matches(name, command.fields, 1)
            raise UnknownNameError(
                f"the runs differ in {name}, which the command does not use, so they would all be the same; its fields are "
                f"{listed(command.fields) or 'none'}: write {{{name}}} where it belongs"
                f"{f', or is {near[0]} meant?' if near else ', or leave it out.'}"
            )
