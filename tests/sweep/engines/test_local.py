"""The local engine: real processes, killed and not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import children, planned, tiny_jobs

from forescale.errors import ForescaleError
from forescale.sweep import Job, Outcome, run_job
from forescale.sweep.engines import LocalEngine, Task
from forescale.sweep.engines import _local as local_module
from forescale.sweep.engines import _worker as worker_module
from forescale.sweep.engines._members import carry_out_together
from forescale.sweep.engines._memory import Guard, available, estimate


@pytest.fixture
def engine() -> Any:
    made = LocalEngine(workers=2, threads=1, device="cpu")
    yield made
    made.close()


def tasks_of(folder: Path, jobs: list[Job]) -> list[Task]:
    return [Task(job=job, folder=folder / job.key) for job in jobs]


def outcomes(engine: LocalEngine, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    began = time.monotonic()
    while len(found) < count and time.monotonic() - began < 120:
        found |= dict(engine.finished(1.0))
    return found


def wait_until(happened: Any, engine: LocalEngine | None = None) -> None:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < 120
        if engine is not None:
            assert engine.finished(0.02) == []
        time.sleep(0.02)


def test_runs_in_workers_are_those_of_this_process_to_the_last_bit(engine: LocalEngine, tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path, 3)
    expected = {job.key: run_job(job, tmp_path / "here" / job.key).loss for job in jobs}
    engine.start(tasks_of(tmp_path / "there", jobs[:2]))
    assert engine.free == 0
    found = outcomes(engine, 2)
    engine.start(tasks_of(tmp_path / "there", jobs[2:]))
    found |= outcomes(engine, 1)
    assert {key: outcome.loss for key, outcome in found.items()} == expected


def test_a_killed_worker_loses_its_run_and_is_replaced(engine: LocalEngine, tmp_path: Path) -> None:
    (long,) = tiny_jobs(tmp_path, 1, steps=100_000)
    task = Task(job=long, folder=tmp_path / long.key)
    engine.start([task])
    wait_until((task.folder / "checkpoints").is_dir, engine)
    (worker,) = engine._pool
    os.kill(worker.pid, signal.SIGKILL)
    assert outcomes(engine, 1)[long.key].problem.startswith("its worker process ended (killed by SIGKILL, perhaps")
    (short,) = tiny_jobs(tmp_path, 1)
    engine.start([Task(job=short, folder=tmp_path / short.key)])
    assert outcomes(engine, 1)[short.key].state == "done"


def test_a_run_that_does_not_answer_is_ended_after_its_time(engine: LocalEngine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(worker_module, "GRACE", 0.5)
    (job,) = tiny_jobs(tmp_path, 1, steps=100_000)
    task = Task(job=replace(job, time_limit=1e3), folder=tmp_path / job.key)
    engine.start([task])
    wait_until((task.folder / "checkpoints").is_dir, engine)
    (worker,) = engine._pool
    os.kill(worker.pid, signal.SIGSTOP)
    worker.deadline = time.monotonic()
    outcome = outcomes(engine, 1)[job.key]
    assert outcome.state == "failed"
    assert outcome.problem == "it took longer than its 1000 s and did not answer: its process was ended"
    assert engine._pool == []


def test_an_error_that_nobody_foresaw_is_an_outcome(engine: LocalEngine, tmp_path: Path) -> None:
    job = Job(trainer="forescale", settings={"no": "config"}, row={"params": 1}, compute=1.0)
    engine.guard = None
    engine.start([Task(job=job, folder=tmp_path / "run")])
    outcome = outcomes(engine, 1)[job.key]
    assert outcome.state == "failed"
    assert "a training config of this version has no no" in outcome.problem or "line" in outcome.problem


def test_closing_leaves_a_checkpoint_of_the_last_step(tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1, steps=100_000, checkpoint_every=50_000)
    folder = tmp_path / job.key
    engine = LocalEngine(workers=1, threads=1, device="cpu")
    engine.start([Task(job=job, folder=folder)])
    wait_until(lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size > 0, engine)
    engine.close()
    assert len(list((folder / "checkpoints").iterdir())) == 1
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_when_the_driver_ends_its_workers_write_their_checkpoints_and_end(tmp_path: Path, number: int) -> None:
    (job,) = tiny_jobs(tmp_path, 1, steps=100_000, checkpoint_every=50_000)
    store = planned(tmp_path / "sweep.db", [job])
    script = Path(__file__).with_name("engine_jobs.py")
    driver = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "sweep.db")], stderr=subprocess.PIPE, text=True
    )
    metrics = store.folder(job.key) / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    workers = [worker for server in children(driver.pid) for worker in children(server)]
    driver.send_signal(number)
    _, said = driver.communicate()
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert len(workers) == 1
    assert len(list((store.folder(job.key) / "checkpoints").iterdir())) == 1
    if number == signal.SIGINT:
        assert "1 are left, with checkpoints where they had begun" in said.splitlines()[-1]
        assert store.counts() == {"planned": 1}


def test_members_of_one_program_are_separate_runs_up_to_rounding(tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path, 4)
    (other,) = tiny_jobs(tmp_path, 1, seq_len=8)
    (wrong,) = tiny_jobs(tmp_path, 1, learning_rate=3e-2, data=(str(tmp_path / "missing.txt"),))
    expected = {job.key: run_job(job, tmp_path / "here" / job.key).loss for job in (*jobs, other)}
    with closing(LocalEngine(workers=1, threads=1, device="cpu", members=8)) as engine:
        assert engine.free == 8
        engine.start(tasks_of(tmp_path / "there", [*jobs, other, wrong]))
        (worker,) = engine._pool
        assert list(worker.tasks) == [job.key for job in jobs]
        found = outcomes(engine, 6)
    assert found.pop(wrong.key).state == "failed"
    assert {key: outcome.loss for key, outcome in found.items()} == pytest.approx(expected, abs=1e-5)
    assert "one program with 3 more" in str(found[jobs[0].key].row["notes"])


def test_how_many_members_is_measured_once_and_before_the_runs(tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path, 4)
    with closing(LocalEngine(workers=1, threads=1, device="cpu", members="auto")) as engine:
        assert engine.free == 1  # until it is known
        engine.start(tasks_of(tmp_path, jobs[:1]))
        wait_until(lambda: engine._programs._known, engine)
        assert engine._programs.usual > 1  # steps of 0.001 GFLOP; benchmarks/results/population.json
        assert engine.free == engine._programs.usual - 1
        engine.start(tasks_of(tmp_path, jobs[1:]))
        assert [len(worker.tasks) for worker in engine._pool] == [4]
        assert {outcome.state for outcome in outcomes(engine, 4).values()} == {"done"}


def test_one_bad_run_does_not_spoil_its_program(tmp_path: Path) -> None:
    jobs = tiny_jobs(tmp_path, 3)
    (tmp_path / jobs[1].key).mkdir()
    (tmp_path / jobs[1].key / "somebody's.txt").touch()
    found = dict(carry_out_together(tasks_of(tmp_path, jobs)))
    assert [found[job.key].state for job in jobs] == ["done", "failed", "done"]
    assert "must be new or empty" in found[jobs[1].key].problem


def test_cores_are_divided_between_workers() -> None:
    divided = local_module._divided
    assert divided(8, 0, None, None) == (8, 1)
    assert divided(8, 0, None, 4) == (2, 4)
    assert divided(8, 0, 1, None) == (1, 8)
    assert divided(8, 0, 3, None) == (3, 2)
    assert divided(2, 0, 5, None) == (5, 1)
    assert divided(16, 4, None, None) == (4, 4)
    assert divided(1, 0, None, 2) == (1, 2)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": -1}, {"device": "tpu"}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ForescaleError, match="must be"):
        LocalEngine(**wrong)


def test_a_run_waits_for_memory_and_alone_it_starts_all_the_same(tmp_path: Path, monkeypatch) -> None:
    from forescale.sweep.engines import _memory

    monkeypatch.setattr(_memory, "available", lambda: 1e6)
    jobs = tiny_jobs(tmp_path, 3)
    with closing(LocalEngine(workers=3, threads=1, device="cpu")) as engine:
        engine.start(tasks_of(tmp_path, jobs))
        assert (len(engine._pool), engine.free) == (1, 0)
        found = outcomes(engine, 3)
        assert [outcome.state for outcome in found.values()] == ["done"] * 3
        assert len(engine._pool) == 1
    assert engine.notes == [
        "a run starts that may need more memory than is free; nothing else runs beside it",
        "memory is short: fewer runs than workers go on at once",
    ]


def test_the_guard_knows_what_a_run_took(tmp_path: Path, monkeypatch) -> None:
    from forescale.sweep.engines import _memory

    job, other = tiny_jobs(tmp_path, 2)
    guard = Guard()
    assert guard.need(job) == estimate(job) > 1e8
    guard.saw(job, 3e8)
    assert guard.need(other) == 3e8  # another seed of the same shape
    monkeypatch.setattr(_memory, "available", lambda: 2e8)
    monkeypatch.setattr(_memory, "resident", lambda _: 2.5e8)
    assert guard.short_of([job], {}) == pytest.approx(1e8)
    assert guard.short_of([job], {1: [other]}) == pytest.approx(1.5e8)  # the other one grows by 5e7 yet
    monkeypatch.setattr(_memory, "available", lambda: None)
    assert guard.short_of([job], {1: [other]}) == 0.0


def test_what_is_available_is_no_more_than_the_machine_has() -> None:
    free = available()
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_script_that_starts_a_sweep_as_it_is_loaded_is_told_what_to_do(tmp_path: Path) -> None:
    (job,) = tiny_jobs(tmp_path, 1)
    planned(tmp_path / "sweep.db", [job])
    script = tmp_path / "careless.py"
    script.write_text(
        "from forescale.sweep.engines import LocalEngine, drive\n"
        "from forescale.sweep.store import open_store\n"
        f"drive(open_store({str(tmp_path / 'sweep.db')!r}), LocalEngine(workers=1, device='cpu'), progress=False)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
