"""`forescale check`: a verdict, a picture, JSON; bad input is one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from forescale.cli import main

SMALL = ("--widths", "32,64", "--seeds", "1", "--batch", "4", "--seq-len", "32")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    return int(stop.value.code or 0)


def test_coords_prints_a_verdict_and_writes_a_picture_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("coords", "--scheme", "mup", *SMALL, "--out", str(tmp_path)) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("pass: mup: activations after 10 steps do not move with the width.")
    assert (tmp_path / "coords-mup-width.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "coords-mup-width.json").read_text())["verdict"] == "pass"


def test_a_wrong_scheme_fails_and_strict_says_so_to_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("coords", "--scheme", "standard", *SMALL, "--json", "--strict") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "fail"
    assert document["axis"] == "width"


def test_transfer_keeps_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("transfer", "--scheme", "mup", *SMALL, "--steps", "6", "--learning-rates", "0.002,0.01,0.05")
    assert run(*options, "--json", "--out", str(tmp_path)) == 0
    first = capsys.readouterr()
    assert json.loads(first.out)["verdict"] in ("pass", "fail", "undecided")
    assert "forescale: run 1 of 6" in first.err
    assert run(*options, "--json", "--out", str(tmp_path)) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "run 1 of" not in again.err
    assert (tmp_path / "transfer-mup-width.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("width",), "check takes coords or transfer; got 'width'"),
        (("coords", "--scheme", "mupp"), "a parametrization is one of standard, mup, .*; got 'mupp'"),
        (("coords", "--widths", "64"), "a check looks along one of width, depth, density"),
        (("coords", "--widths", "64,x"), "--widths must be a number"),
        (("coords", "--widths", "32,72"), "a width must be a multiple of the head size 16; got 72"),
        (("coords", "--learning-rates", "1,2,3"), "--learning-rates means nothing to check coords"),
        (("transfer", "--learning-rate", "1"), "--learning-rate means nothing to check transfer"),
        (("transfer", "--learning-rates", "0.1"), "three or more learning rates"),
        (("coords", "--model", "nowhere.py:make"), "--model takes file.py:function, a file that exists"),
        (("coords", "--data", "nowhere.txt"), "nowhere.txt"),
        (("coords", "--scheme", "mup", "--alpha", "0.5"), "alpha belongs to completep and completed-p"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(*arguments, "--out", str(tmp_path)) == 2
    shown = capsys.readouterr()
    assert re.search(sentence, shown.err.splitlines()[-1])
    assert not shown.out


def test_a_model_of_your_own_in_processes_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my_check_model.py"
    file.write_text(
        "from forescale.check import Proxy\n\n\ndef make(width, depth, density):\n"
        "    return Proxy(seq_len=32).model(width, depth, density)\n"
    )
    assert run("coords", "--scheme", "mup", *SMALL, "--json", "--model", f"{file}:make") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    few = ("--steps", "4", "--learning-rates", "0.002,0.01,0.05", "--workers", "2")
    assert run("transfer", "--scheme", "mup", *SMALL, *few, "--json", "--model", f"{file}:make") == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) >= 6
