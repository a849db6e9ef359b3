"""`forescale critical-batch` as a user runs it, and a batch schedule of `forescale plan`."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from forescale.laws import law

SIZES = {"85M": 85e6, "151M-ablation": 151e6, "302M": 302e6, "604M": 604e6, "1.2B": 1.2e9}
PLAN = ("plan", "--params", "7B", "--tokens", "1.4T", "--seq-len", "4096", "--devices", "64", "--micro-batch", "2")


@pytest.fixture
def zhang(data: Path, tmp_path: Path) -> str:
    """Zhang et al.'s tokens to a goal loss as a user's file."""
    table = pl.read_csv(data / "critical-batch-size" / "steps_to_goal.csv")
    table = table.with_columns(params=pl.col("model_size").replace_strict(SIZES)).drop("model_size")
    table.write_csv(tmp_path / "zhang.csv")
    return str(tmp_path / "zhang.csv")


COLUMNS = ("--columns", "tokens=tokens_to_goal,loss=goal_c4_val_loss", "--seq-len", "512")


def branches(tmp_path: Path) -> str:
    table = pl.DataFrame(
        {
            "checkpoint_tokens": [1e10] * 3 + [5e10] * 3,
            "factor": [1, 2, 4] * 2,
            "batch_tokens": [1e6, 2e6, 4e6] * 2,
            "loss": [2.9, 2.905, 2.95, 2.7, 2.7, 2.705],
        }
    )
    table.write_csv(tmp_path / "branches.csv")
    return str(tmp_path / "branches.csv")


def test_runs_give_a_table_a_law_and_a_picture(run, zhang: str, tmp_path: Path) -> None:
    out, picture = tmp_path / "mine.toml", tmp_path / "mine.png"
    code, printed, err = run("critical-batch", "--runs", zhang, *COLUMNS, "--out", str(out), "--picture", str(picture))
    assert code == 0
    for words in ("1.16M", "1.04M to 1.28M", "law 3.564 D^+0.6021 tokens", "standard error of 0.03"):
        assert words in printed
    assert "wrote" in err
    assert law(str(out)).formula("critical_batch_tokens").exponents["tokens"] == pytest.approx(0.602128, abs=1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_law_drives_a_plan(run, zhang: str, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    run("critical-batch", "--runs", zhang, *COLUMNS, "--out", str(out))
    mine, catalog = (
        json.loads(run(*PLAN, "--batch-schedule", name, "--json")[1])["batch_schedule"]["stages"]
        for name in (str(out), "zhang-refit")
    )
    assert [s["sequences"] for s in mine] == [s["sequences"] for s in catalog]


def test_json_is_json_only(run, zhang: str, tmp_path: Path) -> None:
    code, out, err = run("critical-batch", "--runs", zhang, *COLUMNS, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert len(found["hyperbolas"]) == 5
    assert found["law"]["exponent"] == pytest.approx(0.602128, abs=1e-5)
    code, out, err = run("critical-batch", "--branches", branches(tmp_path), "--json")
    assert (code, err) == (0, "")
    assert [c["critical_batch"] for c in json.loads(out)["checkpoints"]] == [2e6, 4e6]


def test_branches_give_a_table_and_a_picture(run, tmp_path: Path) -> None:
    picture = tmp_path / "branches.svg"
    code, out, _ = run("critical-batch", "--branches", branches(tmp_path), "--picture", str(picture))
    assert code == 0
    assert "at least 4M" in out
    assert (
        "doublings 10B,50B: where the critical batch is twice the batch; --batch-schedule double:SEQUENCES:10B,50B"
        in out
    )
    assert "50B tokens: the largest batch tried is not worse" in out
    assert "<svg" in picture.read_text()
    _, out, _ = run("critical-batch", "--branches", branches(tmp_path), "--epsilon", "0.1")
    assert out.count("at least 4M") == 2


def test_branches_to_train_are_a_table_that_a_sweep_reads(run, tmp_path: Path) -> None:
    out = tmp_path / "branches.csv"
    given = ("--branch-at", "10B,50B", "--batch", "1048576", "--learning-rate", "3e-4", "--factors", "1,4")
    code, printed, _ = run("critical-batch", *given)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [float(row["batch_tokens"]) for row in rows] == [2**20, 2**22] * 2
    assert float(rows[1]["learning_rate"]) == pytest.approx(6e-4)
    run("critical-batch", *given, "--out", str(out))
    design = tmp_path / "branches.toml"
    design.write_text(
        '[workload]\nparams = "1B"\nseq_len = 4096\n[design]\nkind = "file"\nfile = "branches.csv"\n[command]\n'
        'run = "python train.py --load step_{checkpoint_tokens} --batch {batch_tokens} --lr {learning_rate} '
        '--tokens {tokens} --note {factor}x{steps}"\nloss = "loss ([0-9.]+)"\n'
    )
    code, printed, err = run("sweep", str(design), "--store", str(tmp_path / "store"), "--dry-run")
    assert code == 0, err
    assert "4 runs" in printed


BAD = {
    (): "give one of --runs FILE, --branches FILE and --branch-at TOKENS,...; got none",
    ("--runs", "a.csv", "--branches", "b.csv"): "got --runs and --branches",
    ("--runs", "a.csv", "--epsilon", "0.1"): "--epsilon does not go with --runs: leave it out",
    ("--branches", "a.csv", "--out", "x.csv"): "--out does not go with --branches",
    ("--branch-at", "10B"): "needs the run's --batch and --learning-rate; --batch is missing",
    ("--branch-at", "10B", "--batch", "1M", "--learning-rate", "1e-3", "--picture", "a.png"): "--picture does not go",
    ("--branch-at", "x", "--batch", "1M", "--learning-rate", "1e-3"): "--branch-at must be a number such as",
    ("--runs", "a.csv", "--out", "b.csv"): "--out of --runs must end in .toml; got 'b.csv'",
    ("--runs", "a.csv", "--picture", "b.gif"): "a picture is a .png, .svg or .pdf file",
    ("--runs", "no-such-file.csv"): "no-such-file.csv",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_sentence(run, arguments: tuple[str, ...], monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("critical-batch", *arguments)
    assert (code, out) == (2, "")
    assert BAD[arguments] in err
    assert err.count("\n") == 1


def test_a_law_that_is_not_there_is_not_written(run, tmp_path: Path) -> None:
    tokens = [1e9 * (1 + b / 1e6) for b in (1e5, 5e5, 1e6, 4e6)]
    table = pl.DataFrame(
        {"params": [1e8] * 4, "batch_tokens": [1e5, 5e5, 1e6, 4e6], "tokens": tokens, "loss": [3.0] * 4}
    )
    table.write_csv(tmp_path / "one.csv")
    code, _, err = run("critical-batch", "--runs", str(tmp_path / "one.csv"), "--out", str(tmp_path / "one.toml"))
    assert code == 2
    assert "is not written: no law: 1 of 1 critical batches are determined, and a law needs 3" in err
    assert not (tmp_path / "one.toml").exists()


def test_a_batch_schedule_loads_nothing_heavy() -> None:
    code = "import sys; from forescale.noise.schedule import *; from forescale.cli import main\n"
    code += f"try: main({[*PLAN, '--batch-schedule', 'zhang-refit', '--json']!r})\nexcept SystemExit: pass\n"
    code += "print(sorted({'numpy', 'scipy', 'polars', 'matplotlib', 'torch'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_a_plan_prints_its_batch_schedule(run) -> None:
    code, out, _ = run(*PLAN, "--batch-schedule", "double:256:300B,800B")
    assert code == 0
    assert "256 sequences from 0, 512 sequences from 300B, 1,024 sequences from 800B tokens on; 667,572" in " ".join(
        out.split()
    )
    assert "learning rate rule: sqrt" in " ".join(out.split())
    assert "batch schedule" in run(*PLAN, "--batch-schedule", "double:256:300B,800B", "--explain")[1]
    code, _, err = run(*PLAN, "--batch-schedule", "0:100 250B:512")
    assert code == 2
    assert "every batch must be a multiple of 128 sequences" in err
