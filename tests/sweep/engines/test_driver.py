"""The driver's loop, on an engine of the test's own that runs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import planned, tiny_jobs

from forescale.errors import ForescaleError
from forescale.sweep import Job, Outcome
from forescale.sweep.engines import Task, drive
from forescale.sweep.engines import _driver as driver_module
from forescale.sweep.engines._owner import is_dead, new_owner
from forescale.sweep.store import Store, open_store
from forescale.train._interrupt import RunInterruptedError

DONE = Outcome(state="done", loss=2.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK", "RACE"):
        monkeypatch.setattr(driver_module, name, 0.0)


class Instant:
    """Answers at once with what `outcome` says of a task; nothing where it says nothing."""

    name = "instant"

    def __init__(self, outcome: Callable[[Task], Outcome | None] = lambda _: DONE, room: int = 2) -> None:
        self.outcome, self.room, self.notes = outcome, room, list[str]()
        self.tasks: dict[str, Task] = {}
        self.started: list[str] = []
        self.closed = False

    @property
    def free(self) -> int:
        return self.room - len(self.tasks)

    def start(self, tasks: Sequence[Task]) -> None:
        assert len(tasks) <= self.free
        self.tasks |= {task.key: task for task in tasks}
        self.started += [task.key for task in tasks]

    def finished(self, _timeout: float) -> list[tuple[str, Outcome]]:
        answers = [(key, self.outcome(task)) for key, task in self.tasks.items()]
        found = [(key, outcome) for key, outcome in answers if outcome is not None]
        for key, _ in found:
            del self.tasks[key]
        return found

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return tiny_jobs(tmp_path, 5)


@pytest.fixture
def store(tmp_path: Path, jobs: list[Job]) -> Store:
    return planned(tmp_path / "sweep.db", jobs)


def finish(folder: Path, **values: Any) -> None:
    """Leave in a folder what a finished run leaves there."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"state": "finished", "loss": 1.5} | values))


def test_every_planned_run_is_made_once_in_the_order_of_the_design(store: Store, jobs: list[Job]) -> None:
    engine = Instant()
    summary = drive(store, engine, progress=False)
    assert engine.started == [job.key for job in jobs]
    assert (summary.ended, summary.adopted, summary.left) == ({"done": 5}, 0, 0)
    assert store.counts() == {"done": 5}
    assert engine.closed


def test_a_second_drive_finds_nothing_to_do(store: Store) -> None:
    drive(store, Instant(), progress=False)
    again = Instant()
    assert drive(store, again, progress=False).ended == {}
    assert again.started == []


def test_a_result_that_is_in_a_folder_is_recorded_and_not_made_again(store: Store, jobs: list[Job]) -> None:
    finish(store.folder(jobs[2].key))
    engine = Instant()
    summary = drive(store, engine, progress=False)
    assert jobs[2].key not in engine.started
    assert summary.adopted == 1
    assert store.entry(jobs[2].key).outcome == Outcome(
        state="done", loss=1.5, row={"state": "finished", "loss": 1.5}, problem=""
    )


def test_a_lost_run_is_made_again(store: Store, jobs: list[Job]) -> None:
    lost = [jobs[0].key, jobs[0].key, jobs[3].key]

    def outcome(task: Task) -> Outcome:
        if task.key in lost:
            lost.remove(task.key)
            return Outcome(state="lost", problem="killed")
        return DONE

    assert drive(store, Instant(outcome), progress=False).ended == {"done": 5}
    assert [store.entry(job.key).attempts for job in jobs] == [3, 1, 1, 2, 1]


def test_a_run_that_is_lost_again_and_again_has_failed(store: Store, jobs: list[Job]) -> None:
    def outcome(task: Task) -> Outcome:
        return Outcome(state="lost", problem="out of memory") if task.key == jobs[1].key else DONE

    assert drive(store, Instant(outcome), progress=False).ended == {"done": 4, "failed": 1}
    entry = store.entry(jobs[1].key)
    assert entry.attempts == 3
    assert entry.outcome is not None
    assert entry.outcome.problem == "out of memory (3 times in a row, without a new checkpoint)"


def test_losses_do_not_count_against_a_run_that_gets_on(store: Store, jobs: list[Job]) -> None:
    seen: list[str] = []

    def outcome(task: Task) -> Outcome:
        if task.key != jobs[0].key or len(seen) == 10:
            return DONE
        seen.append(task.key)
        checkpoint = task.folder / "checkpoints" / f"step-{len(seen):09d}.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        return Outcome(state="lost", problem="preempted")

    assert drive(store, Instant(outcome), progress=False).ended == {"done": 5}
    assert store.entry(jobs[0].key).attempts == 11


def test_no_more_runs_start_once_the_caller_has_had_enough(store: Store) -> None:
    engine = Instant()
    summary = drive(store, engine, progress=False, until=lambda: len(engine.started) >= 2)
    assert summary.ended == {"done": 2}
    assert summary.left == 3
    assert store.counts() == {"done": 2, "planned": 3}


def test_racing_stops_what_it_names_and_is_asked_of_running_runs_alone(store: Store, jobs: list[Job]) -> None:
    asked: list[list[str]] = []

    def outcome(task: Task) -> Outcome | None:
        if (task.folder / "stop").exists():
            return Outcome(state="stopped", problem=(task.folder / "stop").read_text())
        return None if task.key == jobs[0].key else DONE

    def racing(_store: Store, running: Sequence[Any]) -> dict[str, str]:
        asked.append([entry.key for entry in running])
        return {jobs[0].key: "dominated"} if len(asked) == 3 else {}

    assert drive(store, Instant(outcome), progress=False, racing=racing).ended == {"done": 4, "stopped": 1}
    entry = store.entry(jobs[0].key)
    assert entry.outcome is not None
    assert (entry.state, entry.outcome.problem) == ("stopped", "dominated")
    assert all(keys == [jobs[0].key] for keys in asked)  # the others ended before they could be asked for


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_driver_releases_its_runs_and_says_how_to_go_on(
    store: Store, jobs: list[Job], number: int
) -> None:
    def outcome(task: Task) -> Outcome | None:
        if task.key == jobs[2].key:
            os.kill(os.getpid(), number)
        return None if task.key in (jobs[1].key, jobs[2].key) else DONE

    engine = Instant(outcome)
    with pytest.raises(
        RunInterruptedError, match=r"the runs 1 ended under this driver and 4 are left.*the same command"
    ) as raised:
        drive(store, engine, progress=False)
    assert raised.value.exit_code == 128 + number
    assert engine.closed
    assert store.counts() == {"done": 1, "planned": 4}
    assert all(store.entry(job.key).owner == "" for job in jobs[1:])


def test_what_finishes_while_the_engine_closes_is_recorded(store: Store, jobs: list[Job]) -> None:
    class Closing(Instant):
        def close(self) -> None:
            finish(store.folder(jobs[0].key))

    def outcome(task: Task) -> None:
        if task.key == jobs[0].key:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(RunInterruptedError):
        drive(store, Closing(outcome), progress=False)
    assert store.counts() == {"done": 1, "planned": 4}


def test_an_engine_that_cannot_work_leaves_the_runs_planned(store: Store) -> None:
    def outcome(_task: Task) -> Outcome:
        raise ForescaleError("no node sees the folder")

    with pytest.raises(ForescaleError, match="no node sees"):
        drive(store, Instant(outcome), progress=False)
    assert store.counts() == {"planned": 5}


def test_runs_of_a_dead_driver_of_this_machine_are_taken_over_at_once(store: Store, jobs: list[Job]) -> None:
    made = "from forescale.sweep.engines._owner import new_owner; print(new_owner())"
    dead = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True, check=True).stdout.strip()
    store.claim(dead, 2)
    store.claim("elsewhere/1/2/3", 1)  # of another machine nothing is known, but that it beat a moment ago
    engine = Instant()
    drive(store, engine, progress=False, until=lambda: len(engine.started) == 4)
    assert sorted(engine.started) == sorted(job.key for job in (*jobs[:2], *jobs[3:]))
    assert store.entry(jobs[2].key).state == "running"


def test_runs_of_a_driver_that_has_been_silent_are_taken_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.claim("elsewhere/1/2/3", 3)
    monkeypatch.setattr(driver_module, "SILENT", 0.0)
    assert drive(store, Instant(), progress=False).ended == {"done": 5}


def test_a_living_driver_is_not_dead() -> None:
    assert not is_dead(new_owner())
    assert not is_dead("elsewhere/1/2/3")
    assert not is_dead("named-by-its-user")
    machine, pid, started, number = new_owner().split("/")
    assert is_dead("/".join((machine, pid, str(int(started) - 1), number)))  # the number went to a later process


def test_drivers_at_once_share_the_runs(tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path, 40)
    store = planned(tmp_path / "shared.db", jobs)
    engines = [Instant(), Instant(), Instant()]

    def one(engine: Instant) -> None:
        drive(open_store(tmp_path / "shared.db"), engine, progress=False)

    drivers = [threading.Thread(target=one, args=(engine,)) for engine in engines]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert sorted(key for engine in engines for key in engine.started) == sorted(job.key for job in jobs)
    assert store.counts() == {"done": 40}


def test_no_run_starts_on_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "LEAST_DISK", 1e30)
    engine = Instant()
    with pytest.raises(ForescaleError, match=r"less than 1e\+30B free.*make room and go on"):
        drive(store, engine, progress=False)
    assert engine.started == []
    assert engine.closed
    assert store.counts() == {"planned": 5}


def test_what_is_shown_away_from_a_terminal(store: Store, jobs: list[Job], monkeypatch, capsys) -> None:
    from forescale.sweep.engines import _progress

    monkeypatch.setattr(_progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(_progress, "FIRST_LINE", 0.0)
    engine = Instant(lambda task: Outcome(state="failed", problem="no loss") if task.key == jobs[1].key else DONE)
    engine.notes.append("memory is short")
    drive(store, engine)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"forescale: {jobs[1].key} failed: no loss"
    assert "forescale: memory is short" in lines
    assert any(line.startswith("3 of 5 done, 1 failed") and line.endswith("FLOPs left") for line in lines)
    assert lines[-1].startswith("4 of 5 done, 1 failed")
