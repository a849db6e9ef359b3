"""`forescale laws` lists and shows every law."""

import json
import sys

import pytest

from forescale.cli import main
from forescale.laws import law, names
from forescale.plots import law_curve


def call(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(("laws", *arguments))
    assert not stop.value.code
    return capsys.readouterr().out


def test_list_names_every_law(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = call(capsys)
    assert all(name in out for name in names())
    assert "unverified" in out


def test_json_lists_every_law(capsys) -> None:
    assert [one["name"] for one in json.loads(call(capsys, "--json"))] == list(names())


def test_one_law_shows_formula_source_range_and_plot(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = call(capsys, "step-law")
    for words in (
        "1.79 N^-0.713 D^+0.307",
        "2503.04715",
        "60M to 1.07B",
        "cosine",
        "measured between the upright lines",
    ):
        assert words in out


@pytest.mark.parametrize("name", names())
def test_every_law_can_be_shown_and_drawn(name, capsys) -> None:
    assert law(name).title in " ".join(call(capsys, name, "--no-plot").split())
    for quantity in law(name).predicts:
        assert law_curve(law(name), quantity), quantity


def test_unknown_law(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(("laws", "nope"))
    assert stop.value.code == 2
    assert "step-law" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_one_sentence(capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "plotext", None)
    with pytest.raises(SystemExit) as stop:
        main(("laws", "step-law"))
    assert stop.value.code == 2
    assert "pip install plotext" in capsys.readouterr().err
