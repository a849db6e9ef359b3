"""A worker process of the local engine: takes tasks from a pipe until the driver closes it, or dies, which closes it too."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from forescale.sweep._job import Job, Outcome
from forescale.sweep.engines import _memory as memory
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._members import best_members, carry_out_together

READY = "ready"
PATIENCE = 60.0  # seconds that a run has for its last checkpoint


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A question: how many runs like this one should be one program, at most `most`."""

    program: str
    job: Job
    most: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The answer."""

    program: str
    members: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run has ended."""

    key: str
    outcome: Outcome
    peak: float  # bytes that the process held at most


Inbox = queue.SimpleQueue[Sequence[Task] | Measure | None]


def serve(connection: Connection[Any, Any], environment: Mapping[str, str], log: str) -> None:
    """Carry out what comes, and answer."""
    os.setsid()  # a Ctrl-C on the terminal is the driver's to pass on, and a command's processes are ended with this one
    _use(environment)
    _write_to(log)
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    connection.send(READY)
    while (asked := inbox.get()) is not None:
        if isinstance(asked, Measure):
            connection.send(Measured(program=asked.program, members=best_members(asked.job, asked.most)))
            continue
        memory.forget_peak()
        for key, outcome in carry_out_together(asked):
            connection.send(Ended(key=key, outcome=outcome, peak=memory.peak()))


def _listen(connection: Connection[Any, Any], inbox: Inbox) -> None:
    """Pass on tasks. When the driver is gone, a run writes its checkpoint as at a SIGTERM, and the process ends."""
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        inbox.put(None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


def _use(environment: Mapping[str, str]) -> None:
    """The driver's environment of now: the fork server has that of its own start."""
    os.environ.clear()
    os.environ.update(environment)


def _write_to(log: str) -> None:
    """Whatever is printed goes to a file; the terminal is the driver's."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115  # for as long as the process lives
