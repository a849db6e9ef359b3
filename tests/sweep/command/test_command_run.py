"""A third party's trainer as a run: what it comes to when it works, and in every way that it may not."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forescale import read_runs
from forescale.sweep import Job, Outcome, run_job
from forescale.sweep._run import ask_to_stop
from forescale.sweep.command import Command, LossRule, command_job
from forescale.train._interrupt import RunInterruptedError

VALUES = {
    "params": 1_000_000, "tokens": 20_480, "seq_len": 64, "batch_tokens": 512, "batch_sequences": 8, "steps": 40,
    "learning_rate": 0.00234, "seed": 3, "weight_decay": 0.1,
}  # fmt: skip


def script(folder: Path, text: str) -> str:
    """A trainer of the test's own."""
    path = folder / "train.py"
    path.write_text("import json, os, sys, time, pathlib\n" + text, encoding="utf-8")
    return f"{sys.executable} {path}"


def job_of(run: str, *, time_limit: float | None = None, **options: Any) -> Job:
    return command_job(Command(run=run, **options), VALUES, compute=1e12, time_limit=time_limit)


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., tuple[Outcome, Path]]:
    """Run a script once."""

    def run(text: str, arguments: str = "", **options: Any) -> tuple[Outcome, Path]:
        folder = tmp_path / "run"
        return run_job(job_of(f"{script(tmp_path, text)} {arguments}", **options), folder), folder

    return run


def test_it_gets_its_fields_and_its_last_loss_is_read(attempt: Any) -> None:
    text = "print(sys.argv[1:]); print('step 10: train loss 3.0, val loss 2.90'); print('step 20: val loss 2.50')"
    done, folder = attempt(text, "--lr {learning_rate:.3e} --seed={seed} {out}")
    assert (done.state, done.loss, done.problem) == ("done", 2.5, "")
    assert f"['--lr', '2.340e-03', '--seed=3', '{folder / 'out'}']" in (folder / "log.txt").read_text()
    kept = json.loads((folder / "result.json").read_text())
    assert kept["state"] == "finished"
    assert kept["loss"] == 2.5
    assert kept["exit_code"] == 0
    assert {name: kept[name] for name in VALUES} == VALUES


def test_a_folder_of_results_is_read_as_runs(attempt: Any) -> None:
    _, folder = attempt("print('val loss 2.5')")
    frame = read_runs(folder.parent).frame
    assert frame.select("params", "tokens", "batch_tokens", "learning_rate", "loss").rows() == [
        (1e6, 20480.0, 512.0, 0.00234, 2.5)
    ]


def test_a_finished_run_is_not_made_again(attempt: Any) -> None:
    attempt("print('val loss 2.5')")
    done, folder = attempt("print('val loss 1.0')")
    assert done.loss == 2.5
    assert (folder / "log.txt").read_text() == "val loss 2.5\n"


def test_a_trainer_that_prints_no_loss(attempt: Any) -> None:
    done, _ = attempt("print('all good'); print('training loss 1.0')")
    assert done.state == "failed"
    assert math.isnan(done.loss)
    assert "`val loss 3.21`" in done.problem
    assert "training loss 1.0" in done.problem


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf"])
def test_a_loss_that_is_not_finite_has_diverged(attempt: Any, text: str) -> None:
    done, folder = attempt(f"print('val loss {text}')")
    assert (done.state, done.loss) == ("diverged", math.inf)
    assert json.loads((folder / "result.json").read_text())["loss"] is None
    assert read_runs(folder.parent).diverged == 1


def test_a_diverged_run_is_cut_at_once(attempt: Any) -> None:
    began = time.monotonic()
    done, _ = attempt("print('val loss nan', flush=True); time.sleep(60)")
    assert done.state == "diverged"
    assert time.monotonic() - began < 20


def test_a_trainer_that_exits_with_an_error(attempt: Any) -> None:
    done, folder = attempt("print('val loss 2.0'); raise RuntimeError('no such corpus')")
    assert done.state == "failed"
    assert "exit code 1" in done.problem
    assert "no such corpus" in done.problem
    assert json.loads((folder / "result.json").read_text())["state"] == "failed"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    done = run_job(job_of("no-such-trainer --lr {learning_rate}"), tmp_path / "run")
    assert done.state == "failed"
    assert "no-such-trainer cannot be started" in done.problem
    done = run_job(job_of("true {learning_rate}", cwd=str(tmp_path / "gone")), tmp_path / "other")
    assert "there is no folder" in done.problem


GRANDCHILD = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1], "pids").write_text(f"{os.getpid()} {child.pid}")
print("started", flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (path.exists() and path.read_text().strip()):
        time.sleep(0.05)


def all_gone(folder: Path) -> bool:
    """Whether the trainer's processes end, as those that were killed do within a moment."""
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids(folder))


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "out" / "pids").read_text().split()]


def test_the_time_limit_ends_all_processes_of_a_trainer_that_hangs(attempt: Any) -> None:
    done, folder = attempt(GRANDCHILD, "{out}", time_limit=3)
    assert done.state == "failed"
    assert "longer than its 3 s" in done.problem
    assert "started" in done.problem
    assert all_gone(folder)
    assert not (folder / "result.json").exists()  # with more time it goes on


def test_a_trainer_that_does_not_listen_is_ended_after_the_grace(attempt: Any) -> None:
    text = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    began = time.monotonic()
    done, _ = attempt(text, time_limit=1.0, grace=0.5)
    assert done.state == "failed"
    assert time.monotonic() - began < 20


def test_a_request_to_stop_ends_it_with_the_loss_so_far(tmp_path: Path) -> None:
    job = job_of(f"{script(tmp_path, GRANDCHILD)} {{out}}")
    folder = tmp_path / "run"
    threading.Thread(target=lambda: (wait_for(folder / "out" / "pids"), ask_to_stop(folder, "dominated"))).start()
    done = run_job(job, folder)
    assert (done.state, done.problem) == ("stopped", "dominated")
    assert all_gone(folder)
    assert run_job(job, folder).problem == "dominated"


def test_the_curve_is_a_line_a_step_and_each_step_once(attempt: Any) -> None:
    text = """
for step in [0, 10, 20, 10, 20, 30]:  # as a trainer that went back to its checkpoint
    print(f"iter {step}: loss {4 - step / 100:.2f}, time 3ms", flush=True)
print("val loss 3.5")
"""
    done, folder = attempt(text, curve=r"iter (\d+): loss ([\d.]+)")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert done.loss == 3.5
    assert [(line["step"], line["loss"]) for line in lines] == [(0, 4.0), (10, 3.9), (20, 3.8), (30, 3.7)]


def test_a_progress_bar_is_read_line_by_line(attempt: Any) -> None:
    done, _ = attempt("sys.stdout.write(''.join(f'\\r{n}/9 val_loss={5 - n / 10}' for n in range(10)))")
    assert done.loss == 4.1


def test_the_environment_and_the_shell(attempt: Any) -> None:
    text = "print('eval_loss: ' + os.environ['LR']); print(sys.argv[1:])"
    done, folder = attempt(text, "{out} | cat; exit 0", shell=True, env={"LR": "{learning_rate}"})
    assert done.loss == 0.00234
    assert str(folder / "out") in (folder / "log.txt").read_text()


def test_libraries_are_told_the_threads_of_the_run(tmp_path: Path) -> None:
    text = "print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'], sys.argv[1]); print('val loss 1')"
    run = f"{script(tmp_path, text)} {{threads}}"
    command = Command(run=run, env={"MKL_NUM_THREADS": "1"})
    run_job(command_job(command, VALUES, compute=1.0, execution={"threads": 3}), tmp_path / "run")
    assert (tmp_path / "run" / "log.txt").read_text().startswith("3 1 3\n")


def test_without_a_shell_nothing_is_expanded(attempt: Any) -> None:
    _, folder = attempt("print(sys.argv[1:]); print('val loss 1')", "'$HOME; rm x' '*'")
    assert "['$HOME; rm x', '*']" in (folder / "log.txt").read_text()


FILES = {
    "json": ("result.json", {"eval": {"loss": 2.25}}, LossRule(source="json", file="result.json", key="eval.loss")),
    "json_lines": ("log.jsonl", None, LossRule(source="json_lines", file="log.jsonl", key="val_loss")),
    "csv": ("log.csv", None, LossRule(source="csv", file="log.csv", key="val_loss")),
    "runs": ("trainer_state.json", None, LossRule(source="runs")),
}
CONTENT = {
    "json_lines": '{"val_loss": 3.0}\n{"val_loss": 2.25}\n{"train_loss": 1.0}\n{"val_lo',
    "csv": "step,val_loss\n1,3.0\n2,2.25\n3,\n",
    "runs": json.dumps({"global_step": 40, "max_steps": 40, "log_history": [{"step": 40, "eval_loss": 2.25}]}),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_loss_in_a_file_of_the_trainer(attempt: Any, kind: str) -> None:
    name, data, rule = FILES[kind]
    content = CONTENT.get(kind) or json.dumps(data)
    text = f"pathlib.Path(sys.argv[1], {name!r}).write_text({content!r})"
    done, folder = attempt(text, "{out}", loss=rule)
    assert (done.state, done.loss) == ("done", 2.25)
    assert json.loads((folder / "result.json").read_text())["loss"] == 2.25  # ours, beside a result.json of its own


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_there(attempt: Any, kind: str) -> None:
    done, _ = attempt("print('done')", loss=FILES[kind][2])
    assert done.state == "failed"
    assert "there is no" in done.problem


def test_a_log_on_a_full_disk_loses_no_finished_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.txt").symlink_to("/dev/full")  # every write to it: no space left on device
    done = run_job(job_of(script(tmp_path, "print('val loss 2.0')")), folder)
    assert (done.state, done.loss) == ("done", 2.0)
    assert "No space left" in done.row["notes"][0]


def test_a_result_waits_for_room_on_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json.partial").symlink_to("/dev/full")  # the first attempt fails, and its file goes away
    done = run_job(job_of(script(tmp_path, "print('val loss 2.0')")), folder)
    assert (done.state, done.loss) == ("done", 2.0)
    assert json.loads((folder / "result.json").read_text())["loss"] == 2.0


def test_a_trainer_that_fills_the_disk(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    done, _ = attempt("raise OSError(28, 'No space left on device')")
    assert done.state == "failed"
    assert "is full: make room" in done.problem
    assert "No space left" in done.problem


WORKER = """
import json, sys
from pathlib import Path
from forescale.sweep import run_job
from forescale.sweep._job import job_from_json
run_job(job_from_json(json.loads(Path(sys.argv[2]).read_text())), sys.argv[1])
"""


def worker(tmp_path: Path, job: Job) -> subprocess.Popen[bytes]:
    """A process that runs the job in tmp_path/run, once its trainer has started."""
    (tmp_path / "job.json").write_text(json.dumps(job.to_json()))
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "run"), str(tmp_path / "job.json")])
    wait_for(tmp_path / "run" / "out" / "pids")
    return process


def test_an_interruption_ends_the_trainer_and_is_raised(tmp_path: Path) -> None:
    process = worker(tmp_path, job_of(f"{script(tmp_path, GRANDCHILD)} {{out}}"))
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert all_gone(tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_what_a_killed_worker_left_running_is_ended_and_the_run_resumes(tmp_path: Path) -> None:
    hangs = script(tmp_path, GRANDCHILD)
    job = job_of(f"{hangs} {{out}}", resume=f"{sys.executable} -c 'print(\"resumed, val loss 2.0\")' {{out}}")
    process = worker(tmp_path, job)
    left = pids(tmp_path / "run")
    process.kill()
    process.wait()
    assert all(alive(pid) for pid in left)  # without our care two trainers would write to one folder
    done = run_job(job, tmp_path / "run")
    assert (done.state, done.loss) == ("done", 2.0)
    assert all_gone(tmp_path / "run")


@pytest.mark.parametrize(("written", "printed"), [("ckpt.pt", "again"), ("notes.txt", "anew")])
def test_a_run_resumes_where_there_is_a_checkpoint(tmp_path: Path, written: str, printed: str) -> None:
    (tmp_path / "run" / "out").mkdir(parents=True)
    (tmp_path / "run" / "out" / written).touch()
    run, resume = (f"{sys.executable} -c 'print(\"{word}, val loss 2.0\")'" for word in ("anew", "again"))
    run_job(job_of(run, resume=resume, checkpoint="*.pt"), tmp_path / "run")
    assert (tmp_path / "run" / "log.txt").read_text() == f"{printed}, val loss 2.0\n"


def test_an_interrupted_run_in_this_process(tmp_path: Path) -> None:
    interrupt = threading.Thread(
        target=lambda: (wait_for(tmp_path / "run" / "out" / "pids"), os.kill(os.getpid(), signal.SIGTERM))
    )
    interrupt.start()
    with pytest.raises(RunInterruptedError):
        run_job(job_of(f"{script(tmp_path, GRANDCHILD)} {{out}}"), tmp_path / "run")
