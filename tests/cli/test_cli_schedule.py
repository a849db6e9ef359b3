"""`forescale schedule` compares schedules and prints their factors."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest

from forescale.cli import main
from forescale.schedules import SCHEDULES, averaging, by_name, factors, linear_to_zero, update_weights

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "schedules.md"
COMPARE = ("--compare", "linear", "cosine", "wsd", "--timescale", "0.21", "--steps", "20000", "--warmup", "0.1")


def call(capsys, *arguments: str) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stop:
        main(("schedule", *arguments))
    assert not stop.value.code
    printed = capsys.readouterr()
    return printed.out, printed.err


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(("schedule", *arguments))
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each schedule in a table."""
    split = (line.replace("|", " ").replace("`", " ").split() for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in split if len(cells) == 6 and cells[0] in SCHEDULES}


def test_compare(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out, err = call(capsys, *COMPARE)
    assert not err
    assert "20,000 steps · timescale 0.21" in out
    # facts/timescale-schedule-parametrization.md 7.2: linear with warmup 0.1 at timescale 0.21
    assert rows(out)["linear"] == ["0.500", "0.0924", "0.565", "0.831", "0.0261"]
    assert list(rows(out)) == ["linear", "cosine", "wsd"]


def test_the_page_shows_what_the_command_prints(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    page = PAGE.read_text(encoding="utf-8")
    (command,) = re.findall(r"^forescale schedule (--compare .*)$", page, re.M)
    assert rows(page) == rows(call(capsys, *command.split())[0])


def test_json(capsys) -> None:
    document = json.loads(call(capsys, *COMPARE, "--json")[0])
    assert (document["schema_version"], document["steps"], document["timescale"]) == (1, 20000, 0.21)
    for row in document["schedules"]:
        assert row == {"schedule": row["schedule"]} | asdict(averaging(by_name(row["schedule"]), 20000, 0.21))


def test_without_names_all_are_compared_and_the_timescale_is_explained(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out, _ = call(capsys)
    assert list(rows(out)) == [name for name in SCHEDULES if name != "points"]
    assert "Power Lines" in out


@pytest.mark.parametrize("warmup", ["10", "0.1"])
def test_table_of_factors(capsys, warmup: str) -> None:
    out, _ = call(capsys, "linear", "--steps", "100", "--warmup", warmup, "--table")
    read = list(csv.DictReader(StringIO(out)))
    assert list(read[0]) == ["schedule", "step", "factor"]
    assert [int(row["step"]) for row in read] == list(range(100))
    assert [float(row["factor"]) for row in read] == factors(linear_to_zero(0.1), 100).tolist()


def test_table_as_json_lines_with_coefficients(capsys) -> None:
    text = "points:0=0,0.1=1,1=0"
    out, _ = call(capsys, "--compare", "linear", text, "--steps", "50", "--timescale", "0.5", "--table", "--json")
    read = [json.loads(line) for line in out.splitlines()]
    assert [row["schedule"] for row in read] == ["linear"] * 50 + [text] * 50
    assert [row["coefficient"] for row in read[50:]] == update_weights(by_name(text), 50, 0.5).tolist()
    assert [row["factor"] for row in read[50:]] == factors(by_name(text), 50).tolist()


def test_a_table_needs_no_timescale(capsys) -> None:
    assert len(call(capsys, "linear:warmup=0", "--steps", "3", "--table")[0].splitlines()) == 4


def test_what_does_not_apply_is_said(capsys) -> None:
    out, err = call(capsys, "--compare", "linear", "constant", "tenth", "--final", "0.1", "--json")
    assert "--final does not apply to constant, tenth" in err
    made = {row["schedule"]: row["mean_factor"] for row in json.loads(out)["schedules"]}
    assert made["linear"] == pytest.approx(made["tenth"])


def test_a_peak_that_no_step_reaches_is_said(capsys) -> None:
    assert "no step reaches the peak in linear (at most 0.972)" in call(capsys, "linear", "--steps", "8")[1]
    assert not call(capsys, "linear", "--steps", "10")[1]


def test_picture(capsys, tmp_path: Path) -> None:
    _, err = call(capsys, *COMPARE, "--picture", str(tmp_path / "s.png"))
    assert "wrote" in err
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("wds",), "one of linear, cosine"),
        (("linear", "--compare", "cosine"), "one schedule or --compare"),
        (("--compare", "linear", "linear"), "twice"),
        (("linear", "--steps", "20", "--warmup", "20"), "--warmup must be shorter than the run"),
        (("linear", "--warmup", "10.5"), "--warmup must be a whole number"),
        (("linear", "--warmup", "-1"), "--warmup must"),
        (("linear", "--final", "2"), "final must lie between 0 and 1"),
        (("constant", "--final", "0.1"), "the schedule constant has warmup; got final"),
        (("linear", "--timescale", "0"), "--timescale must"),
        (("linear", "--steps", "0"), "steps must be a whole number above zero"),
        (("linear", "--steps", "4", "--warmup", "0"), "at most 1 in every step"),
        (("linear", "--picture", "s.gif"), ".png"),
        (("linear", "--picture", "nowhere/s.png"), "no folder"),
    ],
)
def test_bad_input(capsys, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(capsys, *arguments)
