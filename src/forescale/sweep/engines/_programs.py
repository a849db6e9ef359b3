"""Which of the waiting runs a worker takes as one program, as the local engine decides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from forescale.sweep._job import Job
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._members import program_of
from forescale.sweep.engines._serve import Measure, Measured

MOST = 64  # members, where they are measured


class Programs:
    """How many members a program should have: as given, or as measured by a worker."""

    def __init__(self, members: int | Literal["auto"]) -> None:
        self.auto = members == "auto"
        self.most = MOST if members == "auto" else members
        self._known: dict[str, int] = {}
        self._of: dict[str, str | None] = {}  # the programs of jobs, by key

    @property
    def usual(self) -> int:
        """Members of the program that was measured last; 1 until then."""
        if not self.auto:
            return self.most
        return list(self._known.values())[-1] if self._known else 1

    def question(self, job: Job) -> Measure | None:
        """What is to be measured before this job starts, if anything."""
        program = self._program(job) if self.auto else None
        if program is None or program in self._known:
            return None
        return Measure(program=program, job=job, most=self.most)

    def learn(self, measured: Measured) -> None:
        """Take note of an answer."""
        self._known.pop(measured.program, None)
        self._known[measured.program] = measured.members

    def first(self, waiting: Sequence[Task], workers: int) -> list[Task]:
        """The first waiting task and those that join it, so many that each of the idle `workers` gets its share."""
        program = self._program(waiting[0].job)
        most = self._known.get(program or "", 1) if self.auto else self.most
        if program is None or most == 1:
            return [waiting[0]]
        like = [task for task in waiting if self._program(task.job) == program]
        return like[: min(most, -(-len(like) // max(workers, 1)))]

    def _program(self, job: Job) -> str | None:
        if self.most == 1:
            return None
        key = job.key
        if key not in self._of:
            self._of[key] = program_of(job)
        return self._of[key]
