"""`forescale sweep`: what it prints before, what it makes, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forescale.cli import main
from forescale.cli._sweep import _options
from forescale.sweep.design import read_design
from forescale.sweep.store import open_store

TRAINER = """
import math, sys
rate = float(sys.argv[1])
if rate > 0.1:
    raise SystemExit("too high")
print("val loss", "nan" if rate > 0.02 else 3 + math.log2(rate / 0.004) ** 2 / 50)
"""
DESIGN = """
[workload]
params = "1M"
tokens = "20M"
[command]
run = "{python} train.py {{learning_rate}}"
[design]
learning_rate = {rates}
[engine]
workers = 2
[budget]
{budget}
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run the command in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAINER)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["sweep", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def design(rates: list[float], budget: str = "price_per_hour = 2") -> str:
    Path("design.toml").write_text(DESIGN.format(python=sys.executable, rates=rates, budget=budget))
    return "design.toml"


def test_a_dry_run_says_runs_flops_hours_and_money_and_makes_nothing(call: Call) -> None:
    code, out, _ = call(design([0.002, 0.004]), "--dry-run", "--flops-per-second", "1e11")
    assert code == 0
    assert "design: 2 runs, 2.4e+14 FLOPs" in out  # 6 N D each (Kaplan et al. 2020)
    assert "about 40 min (local, 2 at once, 1e+11 FLOP/s: given), 1.33 in money at 2 an hour" in out
    assert not Path("sweep.db").exists()
    assert not Path("sweep.db.runs").exists()


def test_a_dry_run_as_json(call: Call) -> None:
    code, out, _ = call(design([0.002, 0.004]), "--dry-run", "--json", "--flops-per-second", "1e11")
    said = json.loads(out)
    assert (code, said["schema_version"], said["runs"]) == (0, 1, 2)
    assert said["left"]["seconds"] == pytest.approx(said["left"]["compute"] / 1e11)
    assert [job["learning_rate"] for job in said["jobs"]] == [0.002, 0.004]


def test_runs_are_made_once_and_what_failed_is_told(call: Call) -> None:
    code, out, err = call(design([0.002, 0.004, 0.05, 0.2]), "--flops-per-second", "1e11")
    assert code == 1
    assert "2 done, 1 diverged, 1 failed" in out
    assert "3.0000" in out  # the best: log2(1) is 0
    assert "1 of 4 runs failed" in err
    assert "too high" in err
    store = open_store("sweep.db")
    losses = {entry.job.row["learning_rate"]: entry.outcome.loss for entry in store.jobs(("done",)) if entry.outcome}
    assert losses == {0.002: 3.02, 0.004: 3.0}
    assert store.as_runs().diverged == 1
    attempts = {entry.key: entry.attempts for entry in store.jobs()}

    code, out, err = call(design([0.002, 0.004, 0.008]), "--json")
    found = json.loads(out)
    assert code == 0
    assert [(r["state"], r["loss"]) for r in found["results"]] == [("done", 3.02), ("done", 3.0), ("done", 3.02)]
    assert found["left"]["runs"] == 1
    assert found["speed"]["source"] == "the 2 runs that have finished"
    assert "1 new run in sweep.db" in err
    assert {entry.key: entry.attempts for entry in open_store("sweep.db").jobs() if entry.key in attempts} == attempts


def test_the_budget(call: Call) -> None:
    over = design([0.002, 0.004], "flops = 2e14")
    code, out, err = call(over, "--flops-per-second", "1e11")
    assert (code, "leave out the 1 dearest of its 2 runs" in err) == (2, True)
    assert not Path("sweep.db").exists()
    code, out, _ = call(over, "--dry-run", "--flops-per-second", "1e11")
    assert (code, "leave out the 1 dearest of its 2 runs" in out.replace("\n", " ")) == (0, True)
    code, _, err = call(design([0.002, 0.004], "flops = 1e14"))
    assert (code, "the budget does not hold one run" in err) == (2, True)


def test_a_sweep_that_goes_on_is_not_stopped_by_its_budget(call: Call) -> None:
    file = read_design(design([0.002, 0.004]))
    open_store("sweep.db").add(file.design.jobs)
    code, out, _ = call(design([0.002, 0.004], "flops = 2e14"), "--flops-per-second", "1e11")
    assert (code, "2 done" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("none.toml",), "the design none.toml cannot be read"),
        (("design.toml", "--engine", "cloud"), "must be one of local, ray, slurm"),
        (("design.toml", "--address", "here:1"), "--address is for --engine ray"),
        (("design.toml", "--workers", "-1"), "must be"),
        (("design.toml", "--flops-per-second", "fast"), "--flops-per-second must be a number"),
        (("design.toml", "--store", "train.py"), "train.py"),
    ],
)
def test_bad_input_is_one_sentence(call: Call, arguments: tuple[str, ...], says: str) -> None:
    design([0.002])
    code, _, err = call(*arguments)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_options_count_before_the_design() -> None:
    given = dict.fromkeys(("engine", "workers", "threads", "device", "address", "slurm", "race"))
    of_file = {"name": "slurm", "workers": 4, "slurm": "partition=gpu", "race": True, "threads": 2}
    made = _options(of_file, {**given, "workers": 5, "race": False})
    assert (made["engine"], made["workers"], made["race"], made["slurm"]) == ("slurm", 5, False, "partition=gpu")
    other = _options(of_file, {**given, "engine": "local"})  # Slurm's options are not the local engine's
    assert (other["engine"], other["slurm"], other["threads"], other["device"]) == ("local", None, 2, "auto")
