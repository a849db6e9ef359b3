"""Runs on this machine: a pool of processes between which the cores, or the GPUs, are divided."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from forescale.errors import ForescaleError
from forescale.sweep._job import Outcome
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._memory import Guard
from forescale.sweep.engines._programs import Programs
from forescale.sweep.engines._serve import Measured
from forescale.sweep.engines._work import on
from forescale.sweep.engines._worker import PATIENCE, Worker, wait_for

STILLBORN = 3  # workers in a row that ended before they began: it is no accident
GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # one of these is there where there is a GPU
VISIBLE = "CUDA_VISIBLE_DEVICES"
GUARDED = (
    'In a script of yours a sweep must be started under `if __name__ == "__main__":`, for every worker process loads '
    "the script too."
)


class LocalEngine:
    """Runs on this machine, one in each of `workers` processes with `threads` threads.

    The cores are divided: one thread a worker by default, which is fastest for small models, or all cores of one worker.
    With GPUs (`device` auto or cuda) there is one worker for each. `members` runs of one shape are one program at most,
    with losses that are those of separate runs up to rounding: `auto` measures how many are worth their while, and is the
    default on a GPU; elsewhere it is 1. A run that would not fit into memory beside the others waits; `guard` False lets it
    start. A worker that is killed is replaced and its run is `lost`; when the driver is killed, its workers write their
    checkpoints and end.
    """

    name = "local"

    def __init__(
        self,
        *,
        workers: int | None = None,
        threads: int | None = None,
        device: str = "auto",
        members: int | Literal["auto"] | None = None,
        guard: bool = True,
    ) -> None:
        for name, value in (("workers", workers), ("threads", threads), ("members", members)):
            if isinstance(value, int) and value < 1:
                raise ForescaleError(f"{name} must be 1 or more; got {value}: leave it out, or give a number of them.")
        if device not in ("auto", "cpu", "cuda"):
            raise ForescaleError(f"device must be auto, cpu or cuda; got {device!r}: choose one.")
        _check_main()
        self.device, self.gpus = device, _gpus() if device != "cpu" else ()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers, self.threads = _divided(cores, len(self.gpus), workers, threads)
        self.members = members or ("auto" if self.gpus else 1)
        self.guard = Guard() if guard else None
        self.notes: list[str] = []
        self._pool: list[Worker] = []
        self._waiting: list[Task] = []
        self._programs = Programs(self.members)
        self._logs: tempfile.TemporaryDirectory[str] | None = None
        self._said: set[str] = set()
        self._stillborn = 0

    @property
    def free(self) -> int:
        """Runs that idle workers could take, less those that wait for memory or for a measurement."""
        idle = self.workers - sum(not worker.idle for worker in self._pool)
        return max(0, idle * self._programs.usual - len(self._waiting))

    def start(self, tasks: Sequence[Task]) -> None:
        """Give the runs to workers."""
        self._waiting += [on(task, threads=self.threads, device=self.device) for task in tasks]
        self._place()

    def finished(self, timeout: float) -> list[tuple[str, Outcome]]:
        """What has ended; raises `ForescaleError` where no worker can start."""
        self._place()
        if self._pool:
            wait_for(self._pool, timeout)
        else:
            time.sleep(timeout)
        return [each for worker in list(self._pool) for each in self._heard(worker)]

    def close(self) -> None:
        """Have the runs write their checkpoints, and end the workers."""
        for worker in self._pool:
            worker.dismiss()
        until = time.monotonic() + PATIENCE
        for worker in self._pool:
            worker.leave(until)
        self._pool, self._waiting = [], []
        if self._logs is not None:
            self._logs.cleanup()
            self._logs = None

    def _place(self) -> None:
        """Start what waits, in its order, as far as there are workers, memory and measurements."""
        while self._waiting:
            question = self._programs.question(self._waiting[0].job)
            if question is not None and any(worker.asked is not None for worker in self._pool):
                return
            idle = self.workers - sum(not worker.idle for worker in self._pool)
            group = self._programs.first(self._waiting, idle)
            if not idle or self._short_of(group):
                return
            worker = self._idle()
            if question is not None:
                worker.ask(question)
                return
            worker.give(group)
            self._waiting = [task for task in self._waiting if task.key not in worker.tasks]

    def _idle(self) -> Worker:
        """A worker that has nothing to do, a new one where there is none."""
        for worker in self._pool:
            if worker.idle and not worker.dead:
                return worker
        worker = Worker(self._environment(), self._log())
        self._pool.append(worker)
        return worker

    def _short_of(self, tasks: Sequence[Task]) -> bool:
        """Whether the tasks would not fit into memory beside what runs. Alone they start whatever comes of it."""
        if self.guard is None:
            return False
        running = {worker.pid: [task.job for task in worker.tasks.values()] for worker in self._pool if not worker.idle}
        missing = self.guard.short_of([task.job for task in tasks], running)
        if missing and running:
            self._say("memory is short: fewer runs than workers go on at once")
        elif missing:
            self._say("a run starts that may need more memory than is free; nothing else runs beside it")
        return bool(missing and running)

    def _heard(self, worker: Worker) -> list[tuple[str, Outcome]]:
        dead = worker.dead  # asked first, so that nothing it said before is missed
        found: list[tuple[str, Outcome]] = []
        for said in worker.heard():
            task = worker.took(said)
            if isinstance(said, Measured):
                self._programs.learn(said)
            elif task is not None:
                found.append((said.key, said.outcome))
                if self.guard is not None:
                    self.guard.saw(task.job, said.peak / worker.members)
        if worker.ready:
            self._stillborn = 0
        if dead:
            found += self._lost(worker)
        elif worker.late:
            found += self._ended(worker)
        return found

    def _lost(self, worker: Worker) -> list[tuple[str, Outcome]]:
        why = worker.why_dead()
        self._bury(worker)
        if worker.asked is not None:  # more members than fit, perhaps: each by itself
            self._programs.learn(Measured(program=worker.asked.program, members=1))
        if worker.stillborn:
            self._stillborn += 1
        if self._stillborn >= STILLBORN:
            raise ForescaleError(f"a worker process of the local engine cannot start; {why}. {GUARDED}")
        return [(key, Outcome(state="lost", problem=why)) for key in worker.tasks]

    def _ended(self, worker: Worker) -> list[tuple[str, Outcome]]:
        self._bury(worker)
        return [(key, _late(task)) for key, task in worker.tasks.items()]

    def _bury(self, worker: Worker) -> None:
        worker.kill()
        self._pool.remove(worker)

    def _environment(self) -> dict[str, str]:
        """Of a new worker: the driver's own, and the GPU that the fewest workers have."""
        if not self.gpus:
            return dict(os.environ)
        taken = [worker.environment[VISIBLE] for worker in self._pool]
        return {**os.environ, VISIBLE: min(self.gpus, key=taken.count)}

    def _log(self) -> Path:
        if self._logs is None:
            self._logs = tempfile.TemporaryDirectory(prefix="forescale-")
        return Path(self._logs.name) / f"{time.monotonic_ns()}.log"

    def _say(self, sentence: str) -> None:
        """Once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.notes.append(sentence)


def _check_main() -> None:
    """Raise `ForescaleError` in a worker that is just loading its driver's script, as multiprocessing itself would."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ForescaleError(GUARDED)


def _late(task: Task) -> Outcome:
    return Outcome(
        state="failed",
        problem=f"it took longer than its {task.job.time_limit:g} s and did not answer: its process was ended",
    )


def _divided(cores: int, gpus: int, workers: int | None, threads: int | None) -> tuple[int, int]:
    """Workers and the threads of each."""
    if workers is None:
        workers = gpus or max(1, cores // (threads or 1))
    return workers, threads or (max(1, cores // workers) if workers < cores else 1)


def _gpus() -> tuple[str, ...]:
    """The numbers of the GPUs; torch is loaded only where the system has one."""
    if not any(Path(path).exists() for path in GPUS):
        return ()
    import torch

    named = os.environ.get(VISIBLE)
    numbers = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return tuple(numbers[: torch.cuda.device_count()])
