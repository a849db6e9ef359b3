"""`forescale fit` with the prior, `plan --runs` and `suggest`: what they print, write and refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from forescale.cli import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit" / "calibrate"))

from test_calibrate_planted import CELLS, optimum, sweep

TARGET = ("--params", "7B", "--tokens", "140B")


def call(capsys, *arguments: object, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert (stop.value.code or 0) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    sweep(CELLS[:3], noise=1e-3).write_csv(path)
    return path


def test_fit_says_what_was_learnt(capsys, runs: Path) -> None:
    out, _ = call(capsys, "fit", runs)
    for words in ("for caution", "the prior, and after these runs", "calibrated", "prior alone", "loss gap to expect"):
        assert words in out


def test_the_law_plans_and_scores(capsys, runs: Path, tmp_path: Path) -> None:
    law = tmp_path / "law.toml"
    found = json.loads(call(capsys, "fit", runs, "--out", law, "--json")[0])
    assert found["prior"] == "published"
    assert found["evidence"] == {"sweep": 3}
    rate = found["predicts"]["learning_rate"]["parameters"]["params"]
    assert {"value", "stderr", "low", "high", "prior"} == set(rate)
    assert found["after"]["loss_gap_percent"] < found["before"]["loss_gap_percent"]
    scored = json.loads(call(capsys, "score", runs, "--law", law, "--json")[0])
    assert scored["laws"]["fit-runs"]["linear"]["mean"] < 0.3
    planned = json.loads(call(capsys, "plan", *TARGET, "--law", law, "--json")[0])
    value = planned["recipe"]["learning_rate"]
    assert value["law"].endswith("law.toml")
    # the choice lies below the estimate, which the interval is around
    assert value["value"] < (value["low"] * value["high"]) ** 0.5


def test_plan_follows_the_runs(capsys, runs: Path) -> None:
    with_runs = json.loads(call(capsys, "plan", *TARGET, "--runs", runs, "--json")[0])
    assert with_runs["calibration"]["evidence"] == {"sweep": 3}
    assert with_runs["recipe"]["learning_rate"]["law"] == "fit-runs"
    estimate = with_runs["calibration"]["after"]["learning_rate"]
    rate = with_runs["recipe"]["learning_rate"]
    assert rate["low"] == pytest.approx(estimate["low"], rel=0.01)
    assert rate["high"] == pytest.approx(estimate["high"], rel=0.01)
    # Planted: Step Law itself. 1,400 times the compute of the largest cell, its optimum must lie in the interval.
    best, batch = optimum(7e9, 1.4e11)
    assert rate["low"] < best < rate["high"]
    assert with_runs["recipe"]["batch_tokens"]["low"] < batch < with_runs["recipe"]["batch_tokens"]["high"]
    out, _ = call(capsys, "plan", *TARGET, "--runs", runs)
    assert "runs runs.csv, 3 cells: the best learning rate is known to" in out


def test_suggest_writes_a_table_to_fill_in(capsys, tmp_path: Path) -> None:
    table = tmp_path / "next.csv"
    found = json.loads(call(capsys, "suggest", *TARGET, "--budget", "1%", "--json", "--out", table)[0])
    assert {"params", "tokens", "learning_rate", "batch_tokens", "compute"} <= set(found["runs"][0])
    assert found["share_of_target"] <= 0.01
    written = pl.read_csv(table)
    assert written.height == len(found["runs"])
    assert written["loss"].null_count() == written.height
    filled = written.with_columns(loss=pl.lit(3.0) + 0.001 * pl.int_range(pl.len()))
    filled.write_csv(table)
    call(capsys, "plan", *TARGET, "--runs", table, "--json")
    out, _ = call(capsys, "suggest", *TARGET, "--budget", "5.88e19")
    assert "will buy: the expected loss gap falls from" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "RUNS", "--prior", "strong"), "--prior is published or none; got 'strong'"),
        (("fit", "RUNS", "--prior", "published", "--protocol", "bowl"), "the published prior takes no --protocol"),
        (("fit", "RUNS", "--seed", "3"), "the published prior takes no --seed"),
        (("fit", "RUNS", "--loss-law", "chinchilla", "--prior", "none"), "--loss-law takes no --prior"),
        (("fit", "RUNS", "--surface", "--prior", "none"), "--surface takes no --prior"),
        (("plan", *TARGET, "--runs", "RUNS", "--law", "step-law"), "calibrated on the runs and named by 'step-law'"),
        (("plan", *TARGET, "--columns", "loss=l"), "give --runs FILE as well"),
        (("plan", *TARGET, "--runs", "nothing.csv"), "nothing.csv"),
        (("suggest", *TARGET, "--budget", "lots"), "--budget must be a number"),
        (("suggest", "--params", "7B", "--budget", "1e20"), "--tokens or --tokens-per-param"),
        (("suggest", *TARGET, "--budget", "1e6"), "buys no sweep"),
        (("suggest", *TARGET, "--budget", "1%", "--seq-len", "0"), "--seq-len must be a whole number above 0"),
        (("suggest", *TARGET, "--budget", "1e20", "--out", "next.txt"), "must end in .csv"),
    ],
)
def test_bad_input_is_one_sentence(capsys, runs: Path, arguments: tuple[str, ...], words: str) -> None:
    _, err = call(capsys, *(runs if a == "RUNS" else a for a in arguments), code=2)
    assert words in err
    assert err.count("\n") == 1
