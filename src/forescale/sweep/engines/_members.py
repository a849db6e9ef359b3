"""Runs that one worker makes as one program: which can be, how many are worth their while, and making them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.sweep._job import Job, Outcome, config_of
from forescale.sweep._run import Watch, ended_as, outcome_of
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._work import carry_out

if TYPE_CHECKING:
    from forescale.train import Step


def program_of(job: Job) -> str | None:
    """What runs of one program have in common; None for a run that is made alone."""
    from forescale.train.population._together import alone, program

    if job.trainer != "forescale":
        return None
    try:
        config = config_of(job)
    except ForescaleError:
        return None  # it will fail, and say why
    return None if alone(config) else program(config)


def best_members(job: Job, most: int) -> int:
    """How many runs like this one a worker should make as one program, measured on its device."""
    from forescale.train.population import best_members

    try:
        return best_members(config_of(job), most=most)
    except Exception:
        traceback.print_exc()  # into the worker's log; each by itself is always possible
        return 1


def carry_out_together(tasks: Sequence[Task]) -> Iterator[tuple[str, Outcome]]:
    """Make the runs as one program; keys and outcomes. Where that fails, in two halves, so that one run spoils no other."""
    known = {task.key: outcome for task in tasks if (outcome := outcome_of(task.folder)) is not None}
    yield from known.items()
    left = [task for task in tasks if task.key not in known]
    if len(left) == 1:
        yield left[0].key, carry_out(left[0])
    elif left:
        try:
            outcomes = _population(left)
        except Exception:
            traceback.print_exc()
            middle = len(left) // 2
            yield from carry_out_together(left[:middle])
            yield from carry_out_together(left[middle:])
        else:
            yield from outcomes.items()


def _population(tasks: Sequence[Task]) -> dict[str, Outcome]:
    from forescale.train.population import train_population

    watches: list[Callable[[object], bool]] = [Watch(task.folder, task.job.time_limit) for task in tasks]

    def on_step(place: int, step: Step) -> bool:
        return watches[place](step)

    configs = [config_of(task.job, out=str(task.folder)) for task in tasks]
    results = train_population(configs, resume=True, on_step=on_step)
    return {
        task.key: ended_as(result.to_json(), task.folder, task.job.time_limit)
        for task, result in zip(tasks, results, strict=True)
    }
