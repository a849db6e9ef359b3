"""`forescale fit --report`: the page is written after all else went well, and only where it may be."""

from __future__ import annotations

import json
import shlex
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit"))

from fit_sweeps import planted

QUICK = ("--bootstraps", "50")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.csv"
    planted((1e8, 2e8, 4e8), (20.0,), noise=5e-4).vstack(planted((1e8, 4e8), (60.0,), noise=5e-4)).write_csv(path)
    return path


def test_the_page_names_the_law_file_and_standard_output_stays_json(run: Any, sweep: Path, tmp_path: Path) -> None:
    page, law = tmp_path / "report.html", tmp_path / "mine.toml"
    page.write_text("an older page")
    code, out, err = run("fit", sweep, *QUICK, "--json", "--out", law, "--report", page)
    assert (code, json.loads(out)["cells"]) == (0, 5)
    assert err.splitlines() == [f"forescale: wrote {law}", f"forescale: overwrote {page}"]
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert f"--law {law}" in html
    assert "sweep.csv" in html


def test_a_calibration_has_a_page_even_on_one_cell(run: Any, tmp_path: Path) -> None:
    sweep, page, law = tmp_path / "it's one.csv", tmp_path / "report.html", tmp_path / "mine.toml"
    planted((1e8,), (20.0,)).rename({"learning_rate": "step size", "batch_tokens": "B"}).write_csv(sweep)
    columns = ("--columns", "learning_rate=step size,batch_tokens=B")
    code, out, err = run("fit", sweep, *columns, "--json", "--out", law, "--report", page)
    assert (code, json.loads(out)["cells"]) == (0, 1)
    assert err.splitlines() == [f"forescale: wrote {law}", f"forescale: wrote {page}"]
    commands = unescape(page.read_text(encoding="utf-8").rpartition('aria-label="Commands">')[2].partition("</pre>")[0])
    from_law, from_runs, further = (shlex.split(line)[1:] for line in commands.splitlines())
    assert from_law[:5] == ["plan", "--params", "1B", "--tokens", "20B"]  # ten times the cell's
    # What the page says to type runs: both plans choose alike, and the suggested runs go to a file.
    at = [str(sweep) if word == sweep.name else word for word in (*from_runs, "--json")]
    (_, by_law, _), (_, by_runs, _) = run(*from_law, "--json"), run(*at)
    by_law, by_runs = (json.loads(text)["recipe"] for text in (by_law, by_runs))
    for name in ("learning_rate", "batch_tokens"):
        assert by_law[name]["value"] == pytest.approx(by_runs[name]["value"], rel=0.01)
    told = {sweep.name: str(sweep), "next.csv": str(tmp_path / "next.csv")}
    assert run(*(told.get(word, word) for word in further))[0] == 0
    assert (tmp_path / "next.csv").read_text().count("\n") > 3


def test_a_loss_law_has_a_page_too(run: Any, data: Path, tmp_path: Path) -> None:
    runs = data / "epoch-chinchilla" / "svg_extracted_data.csv"
    columns = ("--columns", "params=Model Size,compute=Training FLOP")
    page = tmp_path / "loss.HTM"
    code, _, err = run("fit", runs, "--loss-law", "chinchilla", *columns, *QUICK, "--report", page)
    assert (code, err) == (0, f"forescale: wrote {page}\n")
    assert "Fitted and measured" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("more", [(), ("--loss-law", "chinchilla")], ids=["law", "loss law"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.pdf", "--report must end in .html"),
        ("report", "--report must end in .html"),
        ("none/report.html", "there is no folder"),
        ("folder.html", "it is a folder"),
        ("runs.html", "--report must not overwrite what is read here"),
        ("both.html", "--out and --report must be two files"),
    ],
)
def test_bad_destinations_are_refused_before_any_work(
    run: Any, tmp_path: Path, name: str, words: str, more: tuple[str, ...]
) -> None:
    runs = tmp_path / "runs.html"
    runs.write_text("this is never read")
    (tmp_path / "folder.html").mkdir()
    out = ("--out", tmp_path / "both.html") if name == "both.html" else ()
    code, shown, err = run("fit", runs, *more, *out, "--report", tmp_path / name)
    assert (code, shown) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.html", "runs.html"]


def test_no_page_where_the_fit_fails(run: Any, tmp_path: Path) -> None:
    sweep = tmp_path / "one.csv"
    planted((1e8,), (20.0,)).write_csv(sweep)
    code, _, err = run("fit", sweep, "--prior", "none", "--report", tmp_path / "report.html")
    assert code == 2
    assert "one cell" in err
    assert not (tmp_path / "report.html").exists()
