"""Carry out a job in its folder. The folder is the truth: a result in it is never lost, whoever was there to see it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forescale.sweep._job import Job, Outcome, State, config_of

RESULT = "result.json"  # of a run, in its folder; a runs-table row, and its `state`
STOP = "stop"  # a file that asks the run in the folder to end; its text says why
DIVERGED = "diverged: "  # so begins the reason for which a run is ended that has diverged, its losses still finite
LOOK_EVERY = 0.5  # seconds between looks for it
HELD = 120.0  # seconds that a run waits for the process that holds its folder
STATES: Mapping[str, State] = {"finished": "done", "stopped": "stopped", "diverged": "diverged", "failed": "failed"}


def run_job(job: Job, folder: str | Path) -> Outcome:
    """Make the run in `folder`, from its newest checkpoint where there is one; a result that is there is returned.

    What goes wrong in the run is an outcome (`failed`); an interruption is raised, and leaves a checkpoint.
    """
    folder = Path(folder)
    if (known := outcome_of(folder)) is not None:
        return known
    if job.trainer == "command":
        from forescale.sweep.command import run_command

        return run_command(job, folder)
    return _train(job, folder)


def outcome_of(folder: Path) -> Outcome | None:
    """What a finished run left in its folder; None where none has finished there, or was asked to go on."""
    try:
        row: dict[str, Any] = json.loads((folder / RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if row.get("state") == "stopped" and not (folder / STOP).exists():
        return None  # its time was up, or the request was taken back
    return _outcome(row, folder)


def _outcome(row: Mapping[str, Any], folder: Path) -> Outcome:
    state = STATES.get(str(row.get("state")), "failed")
    loss = row.get("loss")
    problem = str(row.get("problem") or (_why_stopped(folder) if state == "stopped" else ""))
    if state == "stopped" and problem.startswith(DIVERGED):
        state, loss = "diverged", None
    lost = math.inf if state == "diverged" else math.nan
    return Outcome(state=state, loss=lost if loss is None else float(loss), row=row, problem=problem)


def ask_to_stop(folder: Path, why: str) -> None:
    """Have the run in `folder` end at its next step, keeping its checkpoint; it counts as stopped, not as done.

    Where the reason begins with `DIVERGED` it counts as diverged, with an infinite loss.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP).write_text(why, encoding="utf-8")


def _why_stopped(folder: Path) -> str:
    try:
        return (folder / STOP).read_text("utf-8")
    except OSError:
        return ""


class Watch:
    """Called after every step: whether the run was asked to stop, or has used up its time."""

    def __init__(self, folder: Path, time_limit: float | None) -> None:
        self.file, self.limit = folder / STOP, time_limit
        self.began = self._looked = time.monotonic()

    def __call__(self, _step: object) -> bool:
        now = time.monotonic()
        if self.limit is not None and now - self.began > self.limit:
            return True
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        return self.file.exists()


def _train(job: Job, folder: Path) -> Outcome:
    from forescale.errors import ForescaleError
    from forescale.train._folder import FolderHeldError

    try:
        row = _patiently(job, folder)
    except FolderHeldError as error:
        return Outcome(state="lost", problem=str(error))
    except ForescaleError as error:
        return Outcome(state="failed", problem=str(error))
    return ended_as(row, folder, job.time_limit)


def ended_as(row: Mapping[str, Any], folder: Path, time_limit: float | None) -> Outcome:
    """The outcome of a run that `train` has ended with this row; not from the file, which one process of several writes."""
    if row["state"] == "stopped" and not (folder / STOP).exists():
        (folder / RESULT).unlink(missing_ok=True)  # it has a checkpoint: `retry` with more time goes on from there
        return Outcome(state="failed", row=row, problem=f"it took longer than its {time_limit:g} s")
    return _outcome(row, folder)


def _patiently(job: Job, folder: Path) -> dict[str, Any]:
    """The run's row. A process that was told to end may hold the folder still, and write its last checkpoint."""
    from forescale.train import train
    from forescale.train._folder import FolderHeldError

    until = time.monotonic() + HELD
    while True:
        try:
            watch = Watch(folder, job.time_limit)
            return train(config_of(job, out=str(folder)), resume=True, on_step=watch).to_json()
        except FolderHeldError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_EVERY)
