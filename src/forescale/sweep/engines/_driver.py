"""The loop that all engines share: claim runs, give them to the engine, record what they come to, until none is left."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forescale.errors import ForescaleError
from forescale.quantities import humanize
from forescale.sweep._job import Job, Outcome, State
from forescale.sweep._run import ask_to_stop, outcome_of
from forescale.sweep.engines._engine import Engine, Task
from forescale.sweep.engines._owner import is_dead, new_owner
from forescale.sweep.engines._progress import Board
from forescale.sweep.store import Entry, Store
from forescale.train._interrupt import RunInterruptedError, interruptible

TURN, LOOK, RACE = 0.5, 2.0, 2.0  # seconds: waiting for an outcome, between looks at other drivers' runs, between races
BEAT, SILENT = 5.0, 60.0  # seconds between signs of life; without one for so long, a driver is taken for gone
LOSSES = 3  # in a row, without a new checkpoint: the run kills its workers
LEFT: tuple[State, ...] = ("planned", "lost", "running")
LEAST_DISK = 100e6  # bytes that must be free where the runs are

Racing = Callable[[Store, Sequence[Entry]], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one driver saw a store come to."""

    ended: Mapping[State, int]  # runs that this driver recorded, by what they came to
    adopted: int  # of them those that had finished before, under a driver that did not see it
    seconds: float
    left: int  # runs that are still planned or running: `until` ended the drive, or they are other drivers'


def drive(
    store: Store,
    engine: Engine,
    *,
    owner: str | None = None,
    progress: bool = True,
    racing: Racing | None = None,
    until: Callable[[], bool] | None = None,
) -> Summary:
    """Make the store's planned runs on the engine, and close it; returns when none is planned or running any more.

    Any number of drivers may share a store. Runs of a driver that is gone are taken over, and go on from their
    checkpoints; a run that is lost three times in a row without a new checkpoint has failed. `racing` is asked every two
    seconds which of this driver's running runs to stop, and why; once `until` says True no more runs start.

    Ctrl-C and SIGTERM have the runs write their checkpoints, release them, and raise `RunInterruptedError`; a second one
    ends the driver at once. Raises `ForescaleError` where the engine cannot work, or the disk is full; what has finished
    is in the store, or in the runs' folders for the next driver to record.
    """
    driver = Driver(store, engine, owner or new_owner(), racing=racing, until=until, progress=progress)
    with interruptible(True) as interrupt:
        try:
            while not interrupt.asked and driver.turn():
                pass
            if interrupt.asked:
                driver.say("interrupted: the runs write their checkpoints; a second Ctrl-C ends them at once")
        finally:
            driver.leave()
    if interrupt.asked:
        raise RunInterruptedError(driver.farewell(), interrupt.number)
    driver.check_disk()
    return driver.summary()


class Driver:
    """One driver's runs and what it has seen."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        owner: str,
        *,
        racing: Racing | None = None,
        until: Callable[[], bool] | None = None,
        progress: bool = False,
    ) -> None:
        self.store, self.engine, self.owner = store, engine, owner
        self.racing, self.until = racing, until
        self.running: dict[str, Job] = {}  # by key, those of this driver
        self.board = Board(store, engine.name) if progress else None
        self._ended: Counter[State] = Counter()
        self._adopted = 0
        self._lost: dict[str, tuple[int, str]] = {}  # how often in a row, and the newest checkpoint then
        self._stopping: set[str] = set()
        self._began = time.monotonic()
        self._due: dict[str, float] = {}

    def turn(self) -> bool:
        """One round of everything; whether anything is left to do."""
        if self._is_due("beat", BEAT):
            self.store.beat(self.owner)
        if self._is_due("look", LOOK):
            self._look()
        self._start()
        for key, outcome in self.engine.finished(TURN):
            self._end(key, outcome)
        if self.racing is not None and self.running and self._is_due("race", RACE):
            self._race(self.racing)
        self._show()
        return bool(self.running) or (self._may_start() and self._look())

    def leave(self) -> None:
        """Close the engine, record what still finished, and release the rest."""
        try:
            self.engine.close()
        finally:
            for key in list(self.running):
                if (known := outcome_of(self.store.folder(key))) is not None:
                    self._end(key, known)
                else:
                    self.store.release(key, self.owner)
            self._say_notes()
            if self.board is not None:
                self.board.close()

    def summary(self) -> Summary:
        """What came of it."""
        seconds = time.monotonic() - self._began
        return Summary(ended=dict(self._ended), adopted=self._adopted, seconds=seconds, left=self._left(LEFT))

    def farewell(self) -> str:
        """What an interrupted driver says."""
        return (
            f"interrupted: of the runs {self._ended.total()} ended under this driver and {self._left(LEFT)} are left, with "
            f"checkpoints where they had begun; all is in {self.store.where}: go on with the same command."
        )

    def say(self, sentence: str) -> None:
        """Tell the user, where somebody is told."""
        if self.board is not None:
            self.board.say(sentence)

    def check_disk(self) -> None:
        """Raise `ForescaleError` where runs are left that a full disk kept from starting."""
        if not self._disk_is_full() or not self.summary().left:
            return
        raise ForescaleError(
            f"no more runs start while the disk of {self.store.runs} has less than {humanize(LEAST_DISK)}B free; what has "
            "finished is kept: make room and go on with the same command."
        )

    def _left(self, states: Sequence[State]) -> int:
        counts = self.store.counts()
        return sum(counts.get(state, 0) for state in states)

    def _start(self) -> None:
        room = self.engine.free
        if room <= 0 or not self._may_start():
            return
        tasks: list[Task] = []
        for job in self.store.claim(self.owner, room):
            self.running[job.key] = job
            folder = self.store.folder(job.key)
            if (known := outcome_of(folder)) is not None:
                self._adopted += 1
                self._end(job.key, known)
            else:
                tasks.append(Task(job=job, folder=folder.absolute()))
        if tasks:
            self.engine.start(tasks)

    def _may_start(self) -> bool:
        return not (self.until is not None and self.until()) and not self._disk_is_full()

    def _disk_is_full(self) -> bool:
        there = next(path for path in (self.store.runs, *self.store.runs.absolute().parents) if path.exists())
        return shutil.disk_usage(there).free < LEAST_DISK

    def _end(self, key: str, outcome: Outcome) -> None:
        """Take note of an outcome; a run that was lost is planned again."""
        if key not in self.running:
            return
        if outcome.state == "lost":
            outcome = self._again(key, outcome)
        self.store.record(key, outcome, self.owner)
        job = self.running.pop(key)
        self._stopping.discard(key)
        if outcome.state != "lost":
            self._ended[outcome.state] += 1
        if self.board is not None:
            self.board.ended(key, job, outcome)

    def _again(self, key: str, outcome: Outcome) -> Outcome:
        """The outcome of a lost run: lost, and so claimed again, unless it gets nowhere."""
        newest = _newest_checkpoint(self.store.folder(key))
        times, before = self._lost.get(key, (0, newest))
        times = times + 1 if newest == before else 1
        self._lost[key] = times, newest
        if times < LOSSES:
            return outcome
        problem = f"{outcome.problem} ({times} times in a row, without a new checkpoint)"
        return Outcome(state="failed", row=outcome.row, problem=problem)

    def _look(self) -> bool:
        """Take over the runs of drivers that are gone; whether any run is left, this driver's or another's."""
        self.store.lose_silent(SILENT)
        for entry in self.store.jobs(("running",)):
            if entry.owner != self.owner and is_dead(entry.owner):
                self.store.release(entry.key, entry.owner)
        if self.board is not None:
            self.board.look()
        return self._left(LEFT) > 0

    def _race(self, racing: Racing) -> None:
        entries = [e for e in self.store.jobs(("running",)) if e.key in self.running and e.key not in self._stopping]
        for key, why in racing(self.store, entries).items():
            self._stopping.add(key)
            ask_to_stop(self.store.folder(key), why)

    def _show(self) -> None:
        self._say_notes()
        if self.board is not None:
            self.board.show(self.running)

    def _say_notes(self) -> None:
        for note in self.engine.notes:
            self.say(note)
        self.engine.notes.clear()

    def _is_due(self, what: str, every: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every
        return True


def _newest_checkpoint(folder: Path) -> str:
    with suppress(OSError):
        return max((path.name for path in (folder / "checkpoints").iterdir()), default="")
    return ""
