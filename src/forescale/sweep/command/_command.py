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
MANNER = ("curve", "resume", "grace")  # of a command: what may change when a run goes on
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
    resume: str = ""  # the command for a folder that an earlier attempt has been in; empty: the same command again
    grace: float = GRACE  # seconds between asking it to end (SIGTERM) and ending it (SIGKILL)

    def __post_init__(self) -> None:
        for template in (self.run, *([self.resume] if self.resume else [])):
            split(template)
        for template in self.templates:
            fields(template)
        if self.curve:
            check_pattern(self.curve, 2, "the curve")
        if not 0 <= self.grace < float("inf"):
            raise ForescaleError(f"grace is a number of seconds, 0 or more; got {self.grace!r}: correct it.")

    @property
    def curve_pattern(self) -> re.Pattern[str] | None:
        """The pattern of the curve, None where none is read."""
        return re.compile(self.curve) if self.curve else None

    @property
    def templates(self) -> tuple[str, ...]:
        """Every text that may have fields."""
        return (self.run, *self.env.values(), *([self.resume] if self.resume else []))

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset(name for template in self.templates for name in fields(template))


def command_job(
    command: Command,
    values: Mapping[str, Any],
    *,
    compute: float,
    swept: Iterable[str] = (),
    execution: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
) -> Job:
    """The job of a run of `command` with the fields `values`; `swept` are those in which the runs of a design differ.

    Its key is the hash of the command and of the fields that occur in it. Raises `UnknownNameError` for a field that is
    not in `values`, `ForescaleError` for a format that does not fit and a swept value that the command does not use.
    """
    known = {**values, **RUNTIME}
    _check_swept(command, swept)
    for template in (command.run, command.resume):
        arguments(template, known, shell=command.shell) if template else None
    for template in command.env.values():
        fill(template, known)
    used = {name: values[name] for name in sorted(command.fields) if name in values}
    return Job(
        trainer="command",
        settings={"command": _identity(command), "fields": used},
        row={name: values[name] for name in (*COLUMNS, *SIZES) if name in values} | _own(values, used),
        compute=compute,
        execution={**_manner(command), **(execution or {})},
        time_limit=time_limit,
    )


def _own(values: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are no column of ours: numbers and words that the user's trainer takes."""
    return {name: values[name] for name in used if name not in {*COLUMNS, *SIZES, "data"}}


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


def _manner(command: Command) -> dict[str, Any]:
    return {name: getattr(command, name) for name in MANNER}


def _check_swept(command: Command, swept: Iterable[str]) -> None:
    for name in swept:
        if command.fields.isdisjoint((name, *SAME.get(name, ()))):
            near = get_close_matches(name, command.fields, 1)
            raise UnknownNameError(
                f"the runs differ in {name}, which the command does not use, so they would all be the same; its fields are "
                f"{listed(command.fields) or 'none'}: write {{{name}}} where it belongs"
                f"{f', or is {near[0]} meant?' if near else ', or leave it out.'}"
            )
