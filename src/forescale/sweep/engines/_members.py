"""Which tasks run as one program, and running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forescale.sweep._job import Outcome
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._work import carry_out


def grouped(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks that one worker takes together."""
    return [[task] for task in tasks]


def carry_out_together(tasks: Sequence[Task]) -> Iterator[tuple[str, Outcome]]:
    """Run a group; keys and outcomes as they come."""
    for task in tasks:
        yield task.key, carry_out(task)
