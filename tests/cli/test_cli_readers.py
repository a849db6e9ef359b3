"""Stores of tools on the command line: the same options in score and fit."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forescale.cli import main

SCHEMA = """
CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT);
CREATE TABLE study_directions (direction TEXT, study_id INTEGER, objective INTEGER);
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER, state TEXT);
CREATE TABLE trial_params (trial_id INTEGER, param_name TEXT, param_value FLOAT, distribution_json TEXT);
CREATE TABLE trial_values (trial_id INTEGER, objective INTEGER, value FLOAT, value_type TEXT);
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two studies; the first a sweep of 5 x 5 with its optimum inside, and a pruned trial."""
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO studies VALUES (?, ?)", [(1, "sweep"), (2, "other")])
        connection.executemany("INSERT INTO study_directions VALUES ('MINIMIZE', ?, 0)", [(1,), (2,)])
        grid = [(lr, batch) for lr in (-2, -1, 0, 1, 2) for batch in (-2, -1, 0, 1, 2)]
        for i, (lr, batch) in enumerate([*grid, (2, 2)]):
            state = "COMPLETE" if i < len(grid) else "PRUNED"
            connection.execute("INSERT INTO trials VALUES (?, ?, 1, ?)", (i, i, state))
            params = {"learning_rate": 2e-3 * 2**lr, "batch_size": 128 * 2**batch}
            rows = [(i, name, value, json.dumps({"name": "FloatDistribution"})) for name, value in params.items()]
            connection.executemany("INSERT INTO trial_params VALUES (?, ?, ?, ?)", rows)
            loss = 3 * math.exp(0.01 * (lr**2 + 0.5 * batch**2))
            connection.execute("INSERT INTO trial_values VALUES (?, 0, ?, 'FINITE')", (i, loss))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


GIVEN = ("--set", "params=124M,tokens=2.6B", "--seq-len", "2048")


def test_score_reads_a_study(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    code, out, _ = run(capsys, "score", f"{study}::sweep", *GIVEN, "--law", "step-law", "--json")
    read = json.loads(out)["runs"]
    assert (code, read["read"], read["unfinished"]) == (0, 26, 1)
    assert read["columns"]["learning_rate"] == "params.learning_rate"
    kept = run(capsys, "score", f"{study}::sweep", *GIVEN, "--keep-unfinished", "--law", "step-law", "--json")[1]
    assert json.loads(kept)["runs"]["unfinished"] == 0


def test_score_says_what_was_given_and_left_out(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    out = " ".join(run(capsys, "score", f"{study}::sweep", *GIVEN, "--law", "step-law")[1].split())
    assert "params = 1.24e+08, tokens = 2.6e+09 in every run, as given." in out
    assert "1 run that did not finish is left out (run_state: pruned)" in out


@pytest.mark.parametrize("command", ["score", "fit"])
def test_bad_sources_are_one_sentence(capsys: pytest.CaptureFixture[str], study: Path, command: str) -> None:
    for arguments, says in (
        ([str(study)], "say which as study.db::sweep"),
        ([str(study.parent / "none")], "No such file"),
        ([f"{study}::sweep", "--set", "params"], "--set takes our name = a value"),
        ([f"{study}::sweep", "--set", "loss=3"], "a loss is measured"),
        ([f"{study}::sweep", "--seq-len", "2048"], "--set params=VALUE,tokens=VALUE"),
    ):
        code, out, err = run(capsys, command, *arguments)
        assert (code, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1
