"""A worker process as the local engine sees it.

Workers live long: torch takes seconds to load, a run may take one. They are forked from a server that has loaded torch
already, so that one that was killed is replaced in milliseconds; a plain fork of the driver would copy its threads'
locks, and `spawn` would load torch anew. Where a system has no fork server, it is `spawn`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._serve import PATIENCE, READY, Ended, Measure, Measured, serve

PRELOADED = ["forescale.train._loop", "forescale.sweep.engines._serve"]
GRACE = 60.0  # seconds beyond a time limit, which the run itself watches, until its worker is ended
TAIL = 600  # bytes of a worker's log that are looked at


class Worker:
    """A process, what it was given and what it has said."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        context = _context()
        self.environment, self.log, self.ready = environment, log, False
        self.connection, theirs = context.Pipe()
        self.process: Any = context.Process(target=serve, args=(theirs, environment, str(log)), daemon=True)
        self.process.start()
        theirs.close()
        self.tasks: dict[str, Task] = {}
        self.members = 1  # tasks that it was given together
        self.asked: Measure | None = None
        self.deadline: float | None = None

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return not self.tasks and self.asked is None

    @property
    def pid(self) -> int:
        """The process's number, which is its group's too."""
        return self.process.pid

    def give(self, tasks: Sequence[Task]) -> None:
        """Have it run these."""
        self.tasks, self.members = {task.key: task for task in tasks}, len(tasks)
        limits = [task.job.time_limit for task in tasks]
        self.deadline = None
        if None not in limits:
            self.deadline = time.monotonic() + GRACE + sum(limit or 0.0 for limit in limits)
        with suppress(OSError):  # it died: `heard` will tell
            self.connection.send(list(tasks))

    def ask(self, question: Measure) -> None:
        """Have it measure something."""
        self.asked, self.deadline = question, None
        with suppress(OSError):
            self.connection.send(question)

    def heard(self) -> list[Ended | Measured]:
        """What it has said since the last call."""
        found: list[Ended | Measured] = []
        with suppress(EOFError, OSError):
            while self.connection.poll():
                said: Any = self.connection.recv()
                if said == READY:
                    self.ready = True
                else:
                    found.append(said)
        return found

    def took(self, said: Ended | Measured) -> Task | None:
        """Note that it has done this; the task that it was."""
        if isinstance(said, Ended):
            return self.tasks.pop(said.key)
        self.asked = None
        return None

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return bool(wait([self.process.sentinel], 0))

    @property
    def stillborn(self) -> bool:
        """Whether it ended, not by a signal, before it could take anything."""
        return not self.ready and self.process.exitcode == 1

    @property
    def late(self) -> bool:
        """Whether it takes much longer than its runs may, and does not answer."""
        return self.deadline is not None and not self.idle and time.monotonic() > self.deadline

    def why_dead(self) -> str:
        """How the process ended, and the last line that it printed."""
        self.process.join(1.0)
        code = self.process.exitcode
        how = f"exit code {code}" if code is None or code >= 0 else f"killed by {_signal(-code)}"
        if code == -signal.SIGKILL:
            how += ", perhaps for want of memory"
        last = _last_line(self.log)
        return f"its worker process ended ({how}){f': {last}' if last else ''}"

    def kill(self) -> None:
        """End the process and those that it started, at once."""
        with suppress(OSError, AttributeError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()
        self.connection.close()
        self.process.join(1.0)

    def dismiss(self) -> None:
        """Tell it to end: what it runs writes its checkpoint."""
        self.connection.close()

    def leave(self, until: float) -> None:
        """Wait for the end of a dismissed process, and make it end at `until`."""
        self.process.join(max(0.0, until - time.monotonic()))
        self.kill()


def wait_for(workers: Sequence[Worker], timeout: float) -> None:
    """Until one of the workers says something or ends."""
    wait([each for worker in workers for each in (worker.connection, worker.process.sentinel)], timeout)


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    try:
        text = log.read_bytes()[-TAIL:].decode(errors="replace")
    except OSError:
        return ""
    return (text.strip().splitlines() or [""])[-1].strip()


__all__ = ["PATIENCE", "Worker", "wait_for"]
