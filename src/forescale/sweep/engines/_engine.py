"""What an engine is: a place where jobs run. The driver gives it jobs and takes outcomes; only the driver writes the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from forescale.sweep._job import Job, Outcome


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job and the folder that it runs in, which every worker can reach."""

    job: Job
    folder: Path

    @property
    def key(self) -> str:
        """The job's."""
        return self.job.key


class Engine(Protocol):
    """Where jobs run. Workers write to the folders of their tasks alone, so that a killed driver loses nothing."""

    name: str
    notes: list[str]  # sentences for the user; the driver shows them and clears the list

    @property
    def free(self) -> int:
        """How many more jobs can start now."""
        ...

    def start(self, tasks: Sequence[Task]) -> None:
        """Start jobs; those of one call may run as one program where the engine can."""
        ...

    def finished(self, timeout: float) -> list[tuple[str, Outcome]]:
        """Keys and outcomes of jobs that ended since the last call; waits up to `timeout` seconds for the first.

        A worker that died without a word is an outcome too: `lost`, and the driver plans it again.
        """
        ...

    def close(self) -> None:
        """End what still runs, leaving checkpoints, and let go of processes and connections."""
        ...
