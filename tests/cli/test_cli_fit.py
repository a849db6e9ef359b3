"""`forescale fit`: what it prints and writes, and that the other commands take what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from forescale.cli import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit"))

from fit_sweeps import planted

QUICK = ("--prior", "none", "--bootstraps", "100")


def call(capsys, *arguments: str, code: int | None = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert (stop.value.code or 0) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.csv"
    planted(noise=5e-4).write_csv(path)
    return path


def test_it_prints_coefficients_and_the_held_out_table(capsys, sweep: Path) -> None:
    out, _ = call(capsys, "fit", str(sweep), *QUICK)
    for words in (
        "learning_rate = ",
        "exponent of N",
        "80 % intervals from",
        "cells left out",
        "step-law, as published",
        "best constant setting in hindsight",
        "> chosen:",
    ):
        assert words in out


def test_the_law_it_writes_plans_and_scores(capsys, sweep: Path, tmp_path: Path) -> None:
    law = tmp_path / "law.toml"
    _, err = call(capsys, "fit", str(sweep), *QUICK, "--out", str(law), "--protocol", "centroid")
    assert f"wrote {law}" in err
    out, _ = call(
        capsys, "plan", "--params", "1e9", "--tokens", "2e10", "--seq-len", "2048", "--law", str(law), "--json"
    )
    # The planted law at (1e9, 2e10), within the noise of the sweep: lr 30 N^-0.75 D^0.25, B 2 N^-0.2 D^0.6.
    values = {name: value["value"] for name, value in json.loads(out)["recipe"].items()}
    assert values["learning_rate"] == pytest.approx(30 * 1e9**-0.75 * 2e10**0.25, rel=0.1)
    assert values["batch_tokens"] == pytest.approx(2 * 1e9**-0.2 * 2e10**0.6, rel=0.15)
    scores = json.loads(call(capsys, "score", str(sweep), "--law", str(law), "--json")[0])
    assert scores["laws"]["fit-sweep"]["linear"]["mean"] < 0.1
    assert any("fit-sweep was fitted on sweep.csv" in note for note in scores["notes"])


def test_json(capsys, sweep: Path) -> None:
    found = json.loads(
        call(capsys, "fit", str(sweep), *QUICK, "--json", "--protocol", "step-law", "--over", "points")[0]
    )
    assert found["schema_version"] == 1
    assert (found["protocol"], found["batch_inputs"]) == ("step-law", ["tokens"])
    assert found["bootstrap"] == {"over": "points", "resamples": 100, "dropped": 0, "seed": 0}
    rate = found["predicts"]["learning_rate"]
    assert list(rate["parameters"]) == rate["covariance_of"] == ["log coefficient", "params", "tokens"]
    assert set(rate["parameters"]["params"]) == {"value", "stderr", "low", "high", "mean"}
    assert set(found["references"]) > {"step-law, as published"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "law.json"), "must end in .toml"),
        (("--protocol", "nearest"), "no protocol is named 'nearest'"),
        (("--bootstraps", "3"), "at least 20 resamples"),
    ],
)
def test_bad_options_are_one_sentence(capsys, sweep: Path, options: tuple[str, ...], words: str) -> None:
    _, err = call(capsys, "fit", str(sweep), *options, code=2)
    assert words in err
    assert err.count("\n") == 1
