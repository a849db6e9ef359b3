"""`forescale tune` as a user types it, on runs that end at once."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tuning_world import InstantEngine, World

import forescale.cli._engines
from forescale import read_runs
from forescale.cli import main
from forescale.laws import law

TARGET = ("--target-params", "128K", "--target-tokens", "2.56M", "--seq-len", "128", "--budget", "20%")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> InstantEngine:
    made = InstantEngine(World(noise=0.001))
    monkeypatch.setattr(forescale.cli._engines, "make_engine", lambda _options: made)
    return made


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["tune", *arguments])
    return int(ended.value.code or 0)


def test_a_whole_tuning(engine: InstantEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*TARGET, "--out", str(tmp_path / "t"), "--verify", "2") == 0
    out, err = capsys.readouterr()
    for text in ("expected loss gap", "learning_rate", "the best:", "(80 %)", "true gap of the prediction", "round 1"):
        assert text in out
    assert "wrote" in err
    page = (tmp_path / "t" / "report.html").read_text()
    assert "<script" not in page
    assert law(str(tmp_path / "t" / "law.toml")).predicts.keys() == {"learning_rate", "batch_tokens"}
    assert read_runs(tmp_path / "t" / "runs.csv").frame.height <= len(engine.made)


def test_the_command_on_the_page_goes_on_from_there(engine: InstantEngine, tmp_path: Path) -> None:
    call(*TARGET, "--out", str(tmp_path / "a tuning"), "--data", "a b.txt", "c.txt", "--verify", "2", "--json")
    page = (tmp_path / "a tuning" / "report.html").read_text()
    found = re.search('aria-label="The command of this page">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    program, command, *arguments = shlex.split(html.unescape(found[1]))
    assert (program, command) == ("forescale", "tune")
    assert {*TARGET, "a b.txt", "c.txt", "--json"} <= set(arguments)
    assert "--engine" not in arguments
    made = len(engine.made)
    assert call(*arguments) == 0
    assert len(engine.made) == made


def test_json_alone_on_standard_output(
    engine: InstantEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*TARGET, "--out", str(tmp_path), "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["budget"]["spent"] <= document["budget"]["compute"]
    assert document["verified"] is None
    assert len(engine.made) == sum(each["runs"] for each in document["rounds"])


def test_a_dry_run_makes_nothing(engine: InstantEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*TARGET, "--out", str(tmp_path / "t"), "--dry-run") == 0
    assert "proxies cost" in capsys.readouterr().out
    assert not (tmp_path / "t").exists()
    assert engine.made == []
    assert call(*TARGET, "--out", str(tmp_path / "t"), "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["compute"] <= document["budget"]["compute"]
    assert document["compute"] == pytest.approx(sum(run["compute"] for run in document["proxies"]))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target-params", "128K", "--budget", "10%"), "--target-tokens"),
        (("--target-tokens", "2M", "--budget", "10%"), "--target-params or --shape"),
        (("--target-params", "128K", "--target-tokens", "2M"), "--budget"),
        (("--target-params", "128K", "--target-tokens", "2M", "--budget", "soon"), "the budget"),
        (("--target-params", "128K", "--target-tokens", "2M", "--budget", "0.01%"), "buys no sweep"),
        (("--target-params", "20K", "--target-tokens", "400K", "--budget", "50%"), "as cheap as a proxy"),
        (("--target-params", "128K", "--target-tokens", "2M", "--budget", "10%", "--schedule", "square"), "square"),
    ],
)
def test_bad_input_is_a_sentence(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments, "--out", str(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "cloud"), "local, ray, slurm"),
        (("--address", "ray://nowhere:1"), "is for --engine ray"),
        (("--slurm", "partition=gpu"), "is for --engine slurm"),
    ],
)
def test_engines_are_named_right(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*TARGET, *arguments, "--out", str(tmp_path)) == 2
    assert said in capsys.readouterr().err
