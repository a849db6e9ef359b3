"""A task as a worker carries it out, on every engine."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Any

from forescale.sweep._job import Outcome
from forescale.sweep._run import run_job
from forescale.sweep.engines._engine import Task

UNSTATED = (None, "auto")


def carry_out(task: Task) -> Outcome:
    """Run the task; an error that the run did not foresee is its outcome too, with where it arose."""
    try:
        return run_job(task.job, task.folder)
    except Exception as error:
        traceback.print_exc()  # into the worker's log
        return Outcome(state="failed", problem=_told(error))


def on(task: Task, **execution: Any) -> Task:
    """The task, carried out so where its job leaves it open: `threads`, `device`, `parallel`."""
    stated = task.job.execution
    filled = {name: value for name, value in execution.items() if stated.get(name) in UNSTATED}
    return replace(task, job=replace(task.job, execution={**stated, **filled}))


def _told(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
