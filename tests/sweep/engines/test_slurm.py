"""The Slurm engine, on a Slurm of the tests' own and on submitit's local stand-in."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fake_slurm
import pytest
from engine_jobs import children, planned, tiny_jobs

from forescale.errors import ForescaleError
from forescale.sweep import Job, Outcome, run_job
from forescale.sweep.command import Command, command_job
from forescale.sweep.engines import SlurmEngine, Task, drive
from forescale.sweep.engines import _slurm as slurm_module

pytest.importorskip("submitit")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the Slurm of the test keeps its jobs."""
    from submitit import SlurmJob

    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    SlurmJob.watcher.clear()
    SlurmJob.watcher._registered.clear()
    yield tmp_path / "slurm" / "state"
    for file in (tmp_path / "slurm" / "state").glob("*.pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(file.read_text()), signal.SIGKILL)


def commands(count: int, line: str = "sh -c 'echo val loss {learning_rate}'") -> list[Job]:
    return [command_job(Command(run=line), {"learning_rate": 1.0 + i}, compute=1.0) for i in range(count)]


def tasks_of(folder: Path, jobs: list[Job]) -> list[Task]:
    return [Task(job=job, folder=folder / job.key) for job in jobs]


def outcomes(engine: SlurmEngine, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    began = time.monotonic()
    while len(found) < count and time.monotonic() - began < 120:
        found |= dict(engine.finished(1.0))
    return found


def wait_until(happened: Any) -> None:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < 120
        time.sleep(0.05)


def test_runs_that_start_together_are_one_array(slurm: Path, tmp_path: Path) -> None:
    store = planned(tmp_path / "sweep.db", commands(3))
    engine = SlurmEngine(partition="night", account="us", time=90, cpus=4, memory=8e9, extra={"qos": "low"})
    summary = drive(store, engine, progress=False)
    assert summary.ended == {"done": 3}
    assert sorted(store.table()["loss"].to_list()) == [1.0, 2.0, 3.0]
    (script,) = [file.read_text() for file in slurm.glob("*.sh")]
    for option in ("array=0-2%3", "partition=night", "account=us", "time=2", "cpus-per-task=4", "mem=8GB", "qos=low"):
        assert f"#SBATCH --{option}\n" in script
    assert "#SBATCH --requeue\n" in script
    assert "#SBATCH --signal=USR2@90\n" in script


def test_a_driver_that_starts_again_finds_its_jobs(slurm: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    jobs = commands(2, f"sh -c 'while [ ! -e {go} ]; do sleep 0.1; done; echo val loss {{learning_rate}}'")
    first = SlurmEngine()
    first.start(tasks_of(tmp_path / "runs", jobs))
    wait_until(lambda: len(list(slurm.glob("*.pid"))) == 2)
    first.close()
    assert first.notes == [
        "2 jobs of Slurm go on without this driver; the same command takes up what they come to, and `scancel 100` would "
        "end them."
    ]
    second = SlurmEngine()
    second.start(tasks_of(tmp_path / "runs", jobs))
    assert second.finished(0.0) == []
    go.touch()
    assert sorted(outcome.loss for outcome in outcomes(second, 2).values()) == [1.0, 2.0]
    assert len(list(slurm.glob("*.sh"))) == 1
    assert not any((tmp_path / "runs" / ".slurm" / job.key).exists() for job in jobs)


def test_a_preempted_run_writes_a_checkpoint_and_is_queued_again(slurm: Path, tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1, steps=600, checkpoint_every=599)
    (task,) = tasks_of(tmp_path / "runs", [job])
    engine = SlurmEngine()
    engine.start([task])
    metrics = task.folder / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    warn(slurm / "100.pid")
    wait_until((slurm / "100.queued_again").exists)
    (checkpoint,) = (task.folder / "checkpoints").iterdir()
    assert 0 < int(checkpoint.stem.removeprefix("step-")) < 599
    assert engine.finished(0.0) == []
    outcome = outcomes(engine, 1)[job.key]
    assert outcome.state == "done"
    assert outcome.loss == run_job(job, tmp_path / "undisturbed").loss
    assert (slurm / "100.queued_again").read_text() == "x"


def warn(pid: Path) -> None:
    """Warn the run's own process, as srun does."""
    for child in children(int(pid.read_text())):
        os.kill(child, signal.SIGUSR2)


def test_a_cancelled_job_is_lost(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_module, "SETTLE", 0.0)
    (task,) = tasks_of(tmp_path / "runs", commands(1, "sleep {learning_rate}00"))
    engine = SlurmEngine()
    engine.start([task])
    wait_until((slurm / "100.pid").exists)
    subprocess.run(["scancel", "100"], check=True)
    outcome = outcomes(engine, 1)[task.key]
    assert outcome.state == "lost"
    assert outcome.problem == "its job 100 ended without a result (state CANCELLED)"


@pytest.mark.usefixtures("slurm")
def test_a_failed_run_says_why(tmp_path: Path) -> None:
    (task,) = tasks_of(tmp_path / "runs", commands(1, "sh -c 'exit {learning_rate:.0f}'"))
    engine = SlurmEngine()
    engine.start([task])
    outcome = outcomes(engine, 1)[task.key]
    assert outcome.state == "failed"
    assert "exit code 1" in outcome.problem


def test_what_slurm_refuses_is_said(slurm: Path, tmp_path: Path) -> None:
    (slurm.parent / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition specified: nihgt' >&2\nexit 1\n"
    )
    store = planned(tmp_path / "sweep.db", commands(2))
    with pytest.raises(ForescaleError, match=r"Slurm did not take 2 jobs.*invalid partition.*correct the options"):
        drive(store, SlurmEngine(partition="nihgt"), progress=False)
    assert store.counts() == {"planned": 2}


def test_without_slurm_the_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ForescaleError, match=r"no Slurm here that submitit can use.*another engine"):
        SlurmEngine().start(tasks_of(tmp_path / "runs", commands(1)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it forgets processes that it started
def test_submitits_own_stand_in(tmp_path: Path) -> None:
    store = planned(tmp_path / "sweep.db", commands(2))
    assert drive(store, SlurmEngine(cluster="local"), progress=False).ended == {"done": 2}
    assert sorted(store.table()["loss"].to_list()) == [1.0, 2.0]
    gc.collect()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_is_shared_between_the_processes_of_a_job(tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1)
    store = planned(tmp_path / "sweep.db", [job])
    drive(store, SlurmEngine(cluster="local", processes=2), progress=False)
    outcome = store.entry(job.key).outcome
    assert outcome is not None
    assert outcome.row["processes"] == 2
    alone = run_job(job, tmp_path / "alone").loss
    assert outcome.loss == pytest.approx(alone, abs=1e-5)  # as tests/train/loop/test_distributed.py has it
    gc.collect()
