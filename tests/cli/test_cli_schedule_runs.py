"""`forescale schedule --runs`: candidates ranked by the law of loss curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from forescale.cli import main

NAMES = ("cosine_24000", "constant_24000", "wsdcon_9")


@pytest.fixture
def files(data: Path) -> list[str]:
    return [str(data / "multi-power-law" / "csv_25" / f"{name}.csv") for name in NAMES]


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stop:
        main(("schedule", *arguments))
    return stop.value.code


def test_candidates_are_ranked_from_the_best_on(files: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert not run("--runs", *files, "--compare", "cosine", "wsd", "--final", "0.1", "--steps", "24000", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["law"] == "memory"
    losses = {each["schedule"]: each["loss"] for each in found["schedules"]}
    assert list(losses) == ["wsd", "cosine"]  # as measured: 3.277 and 3.304
    assert losses["cosine"] == pytest.approx(3.3044, abs=0.005)
    assert found["best"]["loss"] < losses["wsd"]
    assert found["best"]["points"][-1][0] == 1
    assert found["baselines"]["best short run"] == pytest.approx(3.3046, abs=1e-3)


def test_the_table_and_the_picture(files: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "rank.svg"
    assert not run("--runs", *files, "--compare", "linear", "--steps", "48K", "--picture", str(picture))
    printed = capsys.readouterr()
    assert "the memory law of 3 curves" in printed.out
    assert "horizon 2.01x" in printed.out
    assert "without a law: best short run" in printed.out
    assert "wrote" in printed.err
    assert "best in the law" in picture.read_text(encoding="utf-8") or picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peak", "3e-4"], "--peak goes with --runs"),
        (["--runs", "none.csv"], "none.csv cannot be read"),
        (["--runs", "FILES", "--table"], "leave them out"),
        (["--runs", "FILES", "--final", "1.5"], "final must lie between 0 and 1"),
        (["--runs", "FILES", "--compare", "cosine", "--steps", "0"], "above zero"),
    ],
)
def test_what_cannot_be_ranked_is_a_sentence(
    arguments: list[str], said: str, files: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for each in arguments for word in (files if each == "FILES" else [each])]
    assert run(*given) == 2
    assert said in capsys.readouterr().err
