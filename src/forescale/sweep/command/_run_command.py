"""Carry out a job of a third party's trainer in its folder."""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from forescale.errors import ForescaleError
from forescale.sweep._job import Job, Outcome
from forescale.sweep._run import HELD, LOOK_EVERY, RESULT, STOP, Watch, outcome_of
from forescale.sweep.command import _process as processes
from forescale.sweep.command._command import Command, command_of
from forescale.sweep.command._loss import read_loss
from forescale.sweep.command._output import Output
from forescale.sweep.command._template import arguments, fill
from forescale.train._files import why, write_json
from forescale.train._folder import KIND, FolderHeldError, lock
from forescale.train._interrupt import Interrupt, RunInterruptedError, interruptible

OUT = "out"  # of a run, in its folder: the trainer's own files, so that none of them is taken for one of ours
FULL = 1 << 20  # bytes: a disk with less room is full
PATIENCE = 30.0  # seconds that a result waits for room on a full disk
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # of libraries
DIVERGED, INTERRUPTED, STOPPED, LATE = "diverged", "interrupted", "stopped", "late"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the trainer ended."""

    reason: str  # for which it was ended; '': it ended by itself
    code: int
    seconds: float
    output: Output


def run_command(job: Job, folder: str | Path) -> Outcome:
    """Run the command of `job`, with `{out}` a folder in `folder`; what it comes to goes to `result.json` there.

    `stop` in the folder, the job's time limit, a loss that is not finite and an interruption end all its processes; an
    interruption is raised. What goes wrong is an outcome: `failed`, and `problem` says why with the last lines printed.
    """
    folder = Path(folder)
    try:
        (folder / OUT).mkdir(parents=True, exist_ok=True)
        held = _hold(folder)
    except FolderHeldError as error:
        return Outcome(state="lost", problem=str(error))
    except (OSError, ForescaleError) as error:
        return Outcome(state="failed", problem=f"{folder} cannot be written: {why(error)}.")
    with held:
        return outcome_of(folder) or _make(job, folder)


def _hold(folder: Path) -> IO[str]:
    """The folder's lock; a worker that was told to end may hold it for a while yet."""
    until = time.monotonic() + HELD
    while True:
        try:
            return lock(folder)
        except FolderHeldError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_EVERY)


def _make(job: Job, folder: Path) -> Outcome:
    late = False
    with interruptible(True) as interrupt:
        try:
            command = command_of(job)
            ended = _train(job, command, folder, interrupt)
            outcome, late = _judge(job, command, folder, ended), ended.reason == LATE
            interrupted = ended.reason == INTERRUPTED
        except ForescaleError as error:
            outcome, interrupted = Outcome(state="failed", problem=str(error)), False
        # A run that was late leaves no result: with more time it goes on.
        outcome = outcome if interrupted else _finish(job, folder, outcome, kept=not late)
    if interrupt.asked:
        raise RunInterruptedError(f"{folder} was interrupted: run it again to go on.", interrupt.number)
    return outcome


def _train(job: Job, command: Command, folder: Path, interrupt: Interrupt) -> Ended:
    again = bool(command.resume) and next((folder / OUT).glob(command.checkpoint), None) is not None
    processes.end_leftovers(folder)
    values = {
        **job.execution["fields"],
        **job.settings["fields"],
        "out": str((folder / OUT).resolve()),
        "threads": _threads(job),
    }
    template = command.resume if again else command.run
    started = arguments(template, values, shell=command.shell)
    libraries = dict.fromkeys(THREADS, str(values["threads"]))
    env = {**os.environ, **libraries, **{name: fill(text, values) for name, text in command.env.items()}}
    pattern = command.loss.compiled if command.loss.source == "output" else None
    output = Output(folder, pattern, command.curve_pattern)
    began = time.monotonic()
    process = processes.start(started, folder, command.cwd, env)
    try:
        ending = _reasons(output, folder, job.time_limit, interrupt)
        reason = processes.watch(process, output.feed, ending, command.grace)
    finally:
        output.close()
        (folder / processes.PROCESS).unlink(missing_ok=True)
    return Ended(reason=reason, code=process.returncode, seconds=time.monotonic() - began, output=output)


def _threads(job: Job) -> int:
    return int(job.execution.get("threads") or os.cpu_count() or 1)


def _reasons(output: Output, folder: Path, time_limit: float | None, interrupt: Interrupt) -> Callable[[], str]:
    """Why to end the run now, '' to go on."""
    over = Watch(folder, time_limit)

    def reason() -> str:
        if interrupt.asked:
            return INTERRUPTED
        if output.diverged:
            return DIVERGED
        return (STOPPED if (folder / STOP).exists() else LATE) if over(None) else ""

    return reason


def _judge(job: Job, command: Command, folder: Path, ended: Ended) -> Outcome:
    """What the run came to."""
    output = ended.output
    row = {"seconds": ended.seconds, "exit_code": ended.code, "notes": [output.problem] if output.problem else []}
    if ended.reason in (STOPPED, DIVERGED):
        row |= _reached(job, output)
    if ended.reason == LATE:
        problem = f"it took longer than its {job.time_limit:g} s and was ended.{_last(output)}"
        return Outcome(state="failed", row=row, problem=problem)
    loss, unread = (math.nan, "") if output.diverged else _measured(command, folder, output)
    if loss is not None and not math.isfinite(loss):
        return Outcome(state="diverged", loss=math.inf, row=row)
    if ended.reason == STOPPED:
        asked = (folder / STOP).read_text("utf-8") if (folder / STOP).exists() else ""
        return Outcome(state="stopped", loss=math.nan if loss is None else loss, row=row, problem=asked)
    if ended.code != 0:
        return Outcome(state="failed", row=row, problem=f"{_code(ended.code)}.{_full(folder)}{_last(output)}")
    if loss is None:
        problem = f"it ended well, but {unread}: correct the rule that reads its loss.{_full(folder)}{_last(output)}"
        return Outcome(state="failed", row=row, problem=problem)
    return Outcome(state="done", loss=loss, row=row)


def _reached(job: Job, output: Output) -> dict[str, int]:
    """Steps and tokens of a run that was ended, as far as its curve says."""
    steps = job.row.get("steps")
    if output.curve is None or output.curve.step < 0 or not steps:
        return {}
    made = min(output.curve.step, int(steps))
    tokens = {"tokens": round(job.row["tokens"] * made / steps)} if "tokens" in job.row else {}
    return {"steps": made, **tokens}


def _measured(command: Command, folder: Path, output: Output) -> tuple[float | None, str]:
    """The loss that the rule reads; where it reads none, what there is not."""
    if command.loss.source == "output":
        return output.loss, f"its output has no {command.loss}"
    try:
        return read_loss(command.loss, folder / OUT), f"there is no {command.loss}"
    except ForescaleError as error:
        return None, f"there is no {command.loss} ({str(error).rstrip('.')})"


def _code(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def _full(folder: Path) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" The disk of {folder} is full: make room and retry." if free < FULL else ""


def _last(output: Output) -> str:
    """The last lines, for a message; a full disk that the trainer met is said by them."""
    log = f" ({output.problem}.)" if output.problem else ""
    if not output.lines:
        return f"{log} It printed nothing."
    return f"{log} It printed last:\n" + "\n".join(f"  {line[:300]}" for line in output.lines)


def _finish(job: Job, folder: Path, outcome: Outcome, *, kept: bool) -> Outcome:
    """Write the result, as soon as there is room for it; it is returned whether or not."""
    result = _result(job, outcome)
    trouble = _write(folder / RESULT, result) if kept else ""
    return Outcome(state=outcome.state, loss=outcome.loss, row=result, problem=outcome.problem + trouble)


def _result(job: Job, outcome: Outcome) -> dict[str, Any]:
    """One row of a runs table."""
    state = "finished" if outcome.state == "done" else outcome.state
    row = dict(job.row)
    planned = {f"planned_{name}": row[name] for name in ("steps", "tokens") if name in row}
    return {
        "schema_version": 1,
        "kind": KIND,
        "loss": outcome.loss if math.isfinite(outcome.loss) else None,
        "state": state,
        "diverged": outcome.state == "diverged",
        "problem": outcome.problem,
        **row,
        **planned,
        **outcome.row,
    }


def _write(path: Path, result: Mapping[str, Any]) -> str:
    """Write the result; what could not be done after some patience is returned as a sentence."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            write_json(path, result)
            return ""
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or time.monotonic() > deadline:
                return f" {path.name} could not be written: {why(error)}."
        time.sleep(1.0)
        with suppress(OSError):
            path.with_name(f"{path.name}.partial").unlink()
