"""A run as a Slurm job carries it out: preempted, or out of time, it writes a checkpoint and is queued again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from forescale.sweep._job import Outcome
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._work import carry_out
from forescale.train._interrupt import RunInterruptedError

WARNINGS = ("SIGUSR1", "SIGUSR2")  # submitit has Slurm send one of them before the job is ended
PATIENCE = 60.0  # seconds that the other processes of a run wait for the first one to have the job queued again


@dataclass(frozen=True, kw_only=True)
class SlurmRun:
    """What submitit calls in the job, in each of its processes."""

    task: Task
    processes: int = 1

    def __call__(self) -> Outcome:
        """Carry out the run; a warning ends it with a checkpoint, and then has submitit queue the job again."""
        if self.processes > 1:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        with warned() as warning:
            try:
                return carry_out(self.task)
            except RunInterruptedError:
                warning.pass_on()
                raise

    def checkpoint(self) -> Any:
        """What the job does when it starts again: the same, from the run's checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class Warning_:  # noqa: N801  # the word is taken
    """A warning that has come, and who is to hear of it when the run has written its checkpoint."""

    heard: tuple[int, Any] | None = None
    handlers: dict[int, Any] = field(default_factory=dict[int, Any])

    def pass_on(self) -> None:
        """Let submitit queue the job again, which ends this process; nothing where the run was ended by other means."""
        if self.heard is None:
            return
        handler: Callable[[int, Any], None] = self.handlers[self.heard[0]]
        handler(*self.heard)
        time.sleep(PATIENCE)  # not the first process: its end would end the job before it is queued again


@contextmanager
def warned() -> Generator[Warning_]:
    """Turn a warning into the SIGTERM that a run answers with a checkpoint; while none can, submitit hears it at once."""
    warning = Warning_()
    numbers = [getattr(signal, name) for name in WARNINGS]
    warning.handlers = {n: handler for n in numbers if callable(handler := signal.getsignal(n))}
    usual = signal.getsignal(signal.SIGTERM)

    def hear(number: int, frame: Any) -> None:
        warning.heard = number, frame
        if signal.getsignal(signal.SIGTERM) is usual:
            warning.pass_on()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    for number in warning.handlers:
        signal.signal(number, hear)
    try:
        yield warning
    finally:
        for number, handler in warning.handlers.items():
            signal.signal(number, handler)
