"""`forescale fit --isoflop`: what it prints, draws and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forescale.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as stop:
            main(tuple(str(a) for a in arguments))
        assert (stop.value.code or 0) == code
        captured = capsys.readouterr()
        return captured.out, captured.err

    return call


@pytest.fixture
def runs(data: Path, tmp_path: Path) -> Path:
    table = pl.read_csv(data / "open-athena-isoflops" / "isoflops.csv", infer_schema_length=None)
    table = table.filter(~pl.col("outlier"), experiment="marin_202603__dclm__llama_2")
    table.select("params", "tokens", "budget", "loss").write_csv(tmp_path / "marin.csv")
    return tmp_path / "marin.csv"


def test_json_has_budgets_exponents_and_the_law_behind_them(run: Any, runs: Path, tmp_path: Path) -> None:
    law, picture = tmp_path / "law.toml", tmp_path / "marin.png"
    out, err = run("fit", runs, "--isoflop", "--json", "--bootstraps", 100, "--out", law, "--picture", picture)
    found = json.loads(out)
    assert [round(b["compute"] / 1e18) for b in found["budgets"]] == [9, 18, 30, 90, 180, 300]
    for budget in found["budgets"]:
        for method in ("law", "parabola"):
            for number in ("params", "tokens", "tokens_per_param"):
                assert set(budget[method][number]) == {"value", "stderr", "low", "high"}
        assert budget["optimum_seen"] is True
        assert 0.7 < budget["parabola_bias"] < 1
    exponent = found["exponents"]["law"]["params"]
    assert exponent["low"] < exponent["value"] < exponent["high"]
    assert found["exponents"]["law"]["budgets"] == 6
    assert found["loss_law"]["family"] == "skaling"
    assert str(law) in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    run("plan", "--compute", "1e21", "--law", f"loss={law}", "--json")


def test_the_table_has_both_methods_and_what_was_left_out(run: Any, runs: Path) -> None:
    out, _ = run("fit", runs, "--isoflop", "--loss-law", "chinchilla", "--bootstraps", 50)
    for words in ("6 compute budgets", "(parabola)", "bias of", "optimum seen", "N* ~ C^", "parabola, 6 budgets"):
        assert words in out
    assert "more than 10 % above the lowest loss at their compute are left out" in " ".join(out.split())


def test_groups_take_the_files_own_name_of_a_column(run: Any, runs: Path) -> None:
    run("fit", runs, "--isoflop", "--bootstraps", 20, "--groups", "budget", "--json")
    _, err = run("fit", runs, "--isoflop", "--bootstraps", 20, "--groups", "seed", code=2)
    assert "no column 'seed' to group by" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--isoflop", "--protocol", "bowl", "--over", "points"), "--isoflop takes no --protocol and no --over"),
        (("--isoflop", "--loss-law", "kaplan"), "skaling and additive; got 'kaplan'"),
        (("--isoflop", "--picture", "a.jpg"), "a picture is a .png, .svg or .pdf file"),
        (("--isoflop", "--out", "law.json"), "must end in .toml"),
        (("--isoflop", "--bootstraps", "1"), "at least 2 bootstraps"),
        (("--picture", "a.png"), "the published prior takes no --picture"),
        (("--groups", "params"), "the published prior takes no --groups"),
        (("--loss-law", "chinchilla", "--picture", "a.png"), "--loss-law takes no --picture"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_writes_nothing(
    run: Any, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    out, err = run("fit", runs, *options, code=2)
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(folder.iterdir())


def test_a_set_that_is_none_is_one_sentence(run: Any, tmp_path: Path) -> None:
    rows = [{"params": 1e8 * 1.3**i, "tokens": 2e9 * 1.3**i, "loss": 3 - 0.01 * i} for i in range(12)]
    pl.DataFrame(rows).write_csv(tmp_path / "line.csv")
    _, err = run("fit", tmp_path / "line.csv", "--isoflop", code=2)
    assert "line.csv has no compute budget with four sizes" in err
