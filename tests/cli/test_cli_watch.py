"""`forescale watch` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """1,500 of 4,000 steps of 2.5 + 6 (i + 20)^-0.4 with noise, and a spike at step 1,000."""
    steps = np.arange(1, 1501)
    loss = 2.5 + 6 * (steps + 20.0) ** -0.4 + 0.03 * np.random.default_rng(0).normal(size=1500)
    loss[999:] += 0.4 * np.exp(-np.arange(501) / 15)
    rows = zip(steps, loss, 1e-3 * (1 - steps / 4000), strict=True)
    (tmp_path / "log.csv").write_text("step,loss,lr\n" + "".join(f"{i},{y:.5f},{r:.8f}\n" for i, y, r in rows))
    return tmp_path / "log.csv"


def test_json_has_the_end_and_the_events(run, log: Path) -> None:
    code, out, err = run("watch", str(log), "--steps", "4K", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    end = told["final_loss"]
    assert end["low"] < end["half_low"] < end["value"] < end["half_high"] < end["high"]
    assert told["share"] == 0.375
    assert "a line to zero" in end["said"]
    (event,) = told["events"]
    assert event["kind"] == "loss spike"
    assert abs(event["step"] - 1000) <= 2


def test_the_terminal_and_the_picture(run, log: Path, tmp_path: Path) -> None:
    code, out, err = run("watch", str(log), "--steps", "4000", "--picture", str(tmp_path / "run.svg"))
    assert code == 0
    assert "step 1,500 of 4,000 (38%)" in out
    assert "loss at step 4,000: " in out
    assert "loss spike" in out
    assert "┤" in out  # the small curve
    assert "wrote" in err
    assert "end: " in (tmp_path / "run.svg").read_text() or (tmp_path / "run.svg").stat().st_size > 10_000


def test_a_healthy_log_says_so(run, log: Path) -> None:
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:600]))
    code, out, _ = run("watch", str(log))
    assert code == 0
    assert "no event" in out
    assert "give its steps" in out


def test_follow_ends_with_the_run(run, log: Path) -> None:
    code, out, _ = run("watch", str(log), "--steps", "1500", "--follow", "--json")
    assert code == 0
    (line,) = out.splitlines()
    assert json.loads(line)["share"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", "100"), "1500 or more; got 100"),
        (("--schedule", "hill", "--steps", "4000"), "a schedule is one of"),
        (("--picture", "run.txt"), "a picture is a"),
        (("--every", "0"), "--every is above 0 seconds"),
        (("--false-alarms", "-1"), "false_alarms must be above 0"),
    ],
)
def test_wrong_options_are_one_sentence(run, log: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run("watch", str(log), *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_log_that_is_not_there(run, tmp_path: Path) -> None:
    code, _, err = run("watch", str(tmp_path / "none.jsonl"))
    assert code == 2
    assert "must exist" in err


def test_half_a_pipe_is_no_error(log: Path) -> None:
    command = [sys.executable, "-m", "forescale", "watch", str(log), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
