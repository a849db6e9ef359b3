"""A curve, and reading one: what is refused, what is mended and said."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forescale.curves import Curve, read_curves
from forescale.errors import ForescaleError

STEP = list(range(10, 110, 10))
LOSS = [4.0 - 0.1 * i for i in range(10)]
RATE = [1e-3] * 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": None}, "needs the learning rate of each step"),
        ({"learning_rate": RATE[:-1]}, "one learning rate a step; got 9 rates of 10 steps"),
        ({"learning_rate": [0.0] * 10}, "finite, at least 0 and not all 0"),
        ({"learning_rate": [-1e-3, *RATE[1:]]}, "finite, at least 0 and not all 0"),
        ({"loss": [float("inf"), *LOSS[1:]]}, "or NaN where not measured; got inf"),
        ({"loss": LOSS[:5]}, "one loss a step; got 5 losses of 10 steps"),
        ({"loss": [float("nan")] * 5 + LOSS[5:]}, "at least 8 measured losses; got 5"),
        ({"loss": ["much"] * 10}, "must be numbers"),
        ({"loss": [LOSS]}, "one sequence of numbers; got 2 dimensions"),
        ({"step": STEP[::-1]}, "rise from 0 or later, each once; got 90 after 100: sort them"),
        ({"step": [10, 10, *STEP[2:]]}, "keep each step's last record"),
        ({"step": []}, "one learning rate a step; got 10 rates of 0 steps"),
    ],
)
def test_what_is_no_curve_is_refused_in_a_sentence(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"step": STEP, "loss": LOSS, "learning_rate": RATE} | change
    with pytest.raises(ForescaleError, match=said):
        Curve(**given)


def test_a_loss_that_was_not_measured_is_no_error() -> None:
    curve = Curve(STEP, [*LOSS[:-1], float("nan")], RATE)
    assert curve.final_loss == pytest.approx(np.mean(LOSS[6:9]))
    assert not curve.loss.flags.writeable


def write(path: Path, lines: list[str]) -> Path:
    text = "\n".join(lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def rows(steps: list[int], loss: float = 3.0) -> list[str]:
    return [f"{step},{loss},0.001" for step in steps]


@pytest.mark.parametrize("name", ["run.csv", "run.csv.gz"])
def test_a_file_is_a_curve_by_its_name(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, ["iter,train_loss,lr", *rows(STEP)])
    assert list(read_curves(file)) == ["run"]


def test_several_runs_of_one_file_are_told_apart(tmp_path: Path) -> None:
    lines = [f"{run},{row}" for run in "ab" for row in rows(STEP)]
    assert list(read_curves(write(tmp_path / "x.csv", ["run,step,loss,lr", *lines]))) == ["a", "b"]


def test_of_a_log_that_went_back_the_last_records_count(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", ["step,loss,lr", *rows(STEP, 3.0), *rows([60, 70, 80, 90, 100, 110], 2.0)])
    curve = read_curves(file)["x"]
    assert curve.step.tolist() == [*STEP, 110]
    assert curve.loss.tolist() == [3.0] * 5 + [2.0] * 6
    assert curve.note.startswith("5 records")


def test_a_last_line_that_was_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    curve = read_curves(write(tmp_path / "x.csv", ["step,loss,lr", *rows(STEP), "110,2."]))["x"]
    assert len(curve.step) == 10
    assert "cut off" in curve.note


def test_an_empty_rate_lies_between_its_neighbours(tmp_path: Path) -> None:
    lines = rows(STEP)
    lines[3] = "40,3.0,"
    lines[4] = "50,,0.002"
    curve = read_curves(write(tmp_path / "x.csv", ["step,loss,lr", *lines]))["x"]
    assert curve.learning_rate[3] == pytest.approx(0.0015)
    assert np.isnan(curve.loss[4])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "needs a column step; got an empty file"),
        (["step,loss", "1,2"], "a curve needs its schedule"),
        (["step,loss,lr", "1,high,0.1", *rows(STEP)], "line 2: step, loss and rate must be numbers; got 1,high,0.1"),
        (["step,loss,lr", ",2,0.1", *rows(STEP)], "line 2: every record needs its step"),
        (["step,loss,lr", *[f"{i},2," for i in STEP]], "needs the learning rate of its steps; got none"),
    ],
)
def test_a_file_that_is_no_curve_is_refused_in_a_sentence(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        read_curves(write(tmp_path / "x.csv", lines))


def test_no_file_and_two_runs_of_a_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="got no file"):
        read_curves()
    with pytest.raises(ForescaleError, match="cannot be read"):
        read_curves(tmp_path / "none.csv")
    file = write(tmp_path / "x.csv", ["step,loss,lr", *rows(STEP)])
    with pytest.raises(ForescaleError, match="got 'x' twice"):
        read_curves(file, file)
