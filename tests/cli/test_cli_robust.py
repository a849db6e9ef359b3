"""What a hostile user types: one sentence and exit code 2, nothing printed and nothing written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAN = ("plan", "--params", "7B", "--tokens", "1T")
SWEEP = ["params,tokens,learning_rate,batch_tokens,loss"] + [
    f"1e8,1e10,{rate},{batch},{3 + abs(i) / 10 + abs(j) / 10}"
    for i, rate in zip((-1, 0, 1), ("5e-4", "1e-3", "2e-3"), strict=True)
    for j, batch in zip((-1, 0, 1), (131072, 262144, 524288), strict=True)
]


@pytest.fixture
def run(run, monkeypatch, tmp_path):
    """As everywhere, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line with `forescale` in it, as a process of its own."""
    line = command.replace("forescale", f"{sys.executable} -m forescale", 1)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")} | environment
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], env=env, capture_output=True, text=True, check=False)


BAD = [
    (("--params", "1__0_B", "--tokens", "1T"), "--params must be a number"),
    (("--params", "1_", "--tokens", "1T"), "--params must be a number"),
    (("--params", "1e" + "9" * 5000, "--tokens", "1T"), "--params must be a number"),
    (("--params", "7", "--tokens", "1T"), "params must be at least 1K"),
    (("--params", "7B", "--tokens", "5K", "--seq-len", "1K"), "tokens must be at least 10K"),
    ((*PLAN[1:], "--reference", "learning_rate=1_"), "--reference learning_rate must be a number"),
    ((*PLAN[1:], "--reference", "tokens=1B,tokens=2B"), "--reference gives tokens twice"),
    (("--shape", "layers=2,layers=3", "--tokens", "1T"), "--shape gives layers twice"),
    ((*PLAN[1:], "--devices", "1.5"), "--devices must be a whole number, at most"),
    ((*PLAN[1:], "--micro-batch", "1.5"), "--micro-batch must be a whole number"),
    ((*PLAN[1:], "--warmup-steps", "1.9"), "--warmup-steps must be a whole number"),
    ((*PLAN[1:], "--batch", "1M", "--law", "batch_tokens=step-law"), "give one of them"),
    ((*PLAN[1:], "--weight-decay", "0.1", "--law", "timescale=power-lines"), "give one of them"),
    ((*PLAN[1:], "--weight-decay", "0.1", "--law", "weight_decay=completed-p"), "give one of them"),
    ((*PLAN[1:], "--learning-rate", "1e-3", "--law", "learning_rate=step-law"), "give one of them"),
    ((*PLAN[1:], "--law", "=kaplan"), "--law takes NAME or quantity=NAME"),
    ((*PLAN[1:], "--law", "loss="), "--law takes NAME or quantity=NAME"),
    ((*PLAN[1:], "--law", "deepseek", "--law", "deepseek"), "stands there twice"),
    ((*PLAN[1:], "--export", "torchtitan", "--explain"), "--out FILE"),
    (("--config", "", "--tokens", "1T"), "--config must name a file; got an empty text"),
    ((*PLAN[1:], "--export", "torchtitan", "--out", ""), "--out must name a file; got an empty text"),
    ((*PLAN[1:], "--export", "torchtitan", "--out", "a.png", "--picture", "a.png"), "must be two files"),
    ((*PLAN[1:], "--export", "torchtitan", "--out", "no/x.py"), "no/x.py cannot be written: there is no folder no"),
    ((*PLAN[1:], "--picture", "no/x.png"), "no/x.png cannot be written: there is no folder no"),
    ((*PLAN[1:], "--export", "torchtitan", "--out", "x.py", "--picture", "no/x.png"), "no/x.png cannot be written"),
    ((*PLAN[1:], "--export", "torchtitan", "--out", "."), "it is a folder"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(run, tmp_path, arguments, message) -> None:
    code, out, err = run("plan", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("forescale: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_law_and_a_number_for_different_quantities_agree(run) -> None:
    code, _, err = run(*PLAN, "--batch", "1M", "--law", "learning_rate=deepseek")
    assert (code, err) == (0, "")


def test_whole_numbers_may_have_a_suffix_and_be_zero(run) -> None:
    code, out, _ = run(*PLAN, "--seq-len", "4K", "--devices", "1e1", "--warmup-steps", "0", "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["workload"]["seq_len"], made["layout"]["devices"]) == (4000, 10)
    assert made["recipe"]["warmup_steps"]["value"] == 0


def test_notes_of_an_export_are_sentences_on_standard_error(run) -> None:
    code, _, err = run(*PLAN, "--export", "nanochat")
    assert code == 0
    assert "Note(" not in err
    assert re.search(r"^forescale: not exported: \w", err, re.M)


def test_notes_of_an_export_are_objects_in_json(run) -> None:
    notes = json.loads(run(*PLAN, "--export", "nanochat", "--json")[1])["export"]["notes"]
    assert any(note["loss"] is True for note in notes)
    assert all(set(note) == {"message", "loss"} and "Note(" not in note["message"] for note in notes)


def test_an_export_must_not_overwrite_what_it_was_made_from(run, tmp_path) -> None:
    config = tmp_path / "config.json"
    text = (ROOT / "examples" / "llama-3-8b" / "config.json").read_text()
    config.write_text(text)
    for given in (config, tmp_path):
        arguments = ("--config", given, "--tokens", "1T", "--export", "torchtitan", "--out", "config.json")
        code, out, err = run("plan", *arguments)
        assert (code, out) == (2, "")
        assert "must not overwrite what is read" in err
    assert config.read_text() == text


def test_overwriting_is_said(run) -> None:
    arguments = (*PLAN, "--export", "torchtitan", "--out", "train.py", "--picture", "plan.png")
    _, out, err = run(*arguments)
    assert "\nwrote train.py" in out
    assert "wrote plan.png" in err
    _, out, err = run(*arguments)
    assert "\noverwrote train.py" in out
    assert "overwrote plan.png" in err
    _, out, err = run(*arguments[:-2], "--json")
    assert json.loads(out)
    assert "overwrote train.py" in err


def test_nothing_is_written_where_the_output_cannot_be(tmp_path) -> None:
    out = tmp_path / "x.py"
    done = shell(f"forescale plan --params 7B --tokens 1T --export torchtitan --out {out} > /dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "forescale: the output cannot be written: No space left on device."
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", ["plan --params 7B --tokens 1T", "laws", "laws --json"])
def test_a_reader_that_goes_away_is_no_error(command) -> None:
    done = shell(f"forescale {command} | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["plan --params 7B --tokens 1T", "plan --params 7B --tokens 1T --explain", "laws"])
def test_an_encoding_that_lacks_characters_gets_question_marks(command) -> None:
    done = shell(f"forescale {command}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


HEADS = ("learning_rate", "batch_tokens", "expected loss gap", "within 0.25 % of loss", "predicts", "measured on")


@pytest.mark.parametrize("columns", ["70", "80", "100", "140"])
def test_no_heading_is_cut_in_a_terminal(run, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    printed = run(*PLAN)[1] + run("laws")[1]
    assert "…" not in printed
    plain = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert all(head in plain for head in HEADS)
    assert max(map(len, plain.splitlines())) <= int(columns)
    assert ("columns left out" in plain) == (columns in ("70", "80"))


def test_a_pipe_is_wide_enough_and_columns_are_honoured_from_100(run, monkeypatch) -> None:
    widths = {}
    for columns in (None, "80", "100", "110"):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        widths[columns] = max(map(len, run(*PLAN)[1].splitlines()))
    assert widths["80"] == widths[None] > widths["110"] > widths["100"]
    assert widths["100"] <= 100


def test_options_have_no_negatives_that_mean_nothing(run) -> None:
    for command in ("plan", "score", "laws"):
        text = run(command, "--help")[1]
        assert not re.search(r"--(empty-law|no-strict|no-json|no-explain|no-cells)", text)


def test_a_missing_package_is_told_by_its_own_name(run, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run(*PLAN, "--picture", "x.png")
    assert code == 2
    assert "pip install matplotlib (" in err


def test_widths_are_whole_numbers(run) -> None:
    out = run("laws", "marin-muonh", "--no-plot")[1]
    assert "width 512 to 1280" in " ".join(out.split())


def test_arithmetic_and_a_users_choice_claim_no_evidence(run) -> None:
    out = run(*PLAN, "--learning-rate", "1e-3", "--explain")[1]
    assert re.search(r"law +user$", out, re.M)
    assert re.search(r"law +arithmetic$", out, re.M)
    assert re.search(r"law +step-law \(primary\)", out)


SCORED = [
    ("1e8,1e10,1e-3,262144,1e308", 0, "taken as infinite"),
    ("1e8,1e10,1e-3,262144,1e-320", 2, "column 'loss' must be at least 1e-09"),
    ("1e8,1e10,1e300,262144,3", 2, "must be between 1e-12 and 1000"),
    ("1e8,1e10,1e-320,262144,3", 2, "must be between 1e-12 and 1000"),
    ("1__0B,1e10,1e-3,262144,3", 2, "row 11 has '1__0B'"),
]


@pytest.mark.parametrize(("row", "code", "message"), SCORED)
def test_extreme_runs(run, tmp_path, row, code, message) -> None:
    (tmp_path / "runs.csv").write_text("\n".join([*SWEEP, row]))
    for option in ((), ("--json",)):
        got, out, err = run("score", "runs.csv", *option)
        assert got == code
        assert message in " ".join((out + err).split())
        assert "Traceback" not in err


def test_score_says_what_the_table_means(run, tmp_path) -> None:
    (tmp_path / "runs.csv").write_text("\n".join(SWEEP))
    out = run("score", "runs.csv", "--law", "mm1", "--law", "ling-moe", "--law", "step-law")[1]
    assert re.search(r"mm1 .* – +B *$", out, re.M)
    assert re.search(r"step-law .* \d/1 *$", out, re.M)
    assert "ling-moe †" in out
    assert "† a law of mixtures of experts, scored on dense models." in out
    assert "moves with the order of the rows" in " ".join(out.split())


@pytest.mark.parametrize("columns", ["66", "80"])
def test_score_gives_up_columns_in_a_narrow_terminal(run, tmp_path, monkeypatch, columns) -> None:
    (tmp_path / "runs.csv").write_text("\n".join(SWEEP))
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    plain = re.sub(r"\x1b\[[\d;]*m", "", run("score", "runs.csv", "--cells")[1])
    assert "…" not in plain
    assert "columns left out" in plain
    assert max(map(len, plain.splitlines())) <= int(columns)


def test_score_asks_for_one_thread_a_library(tmp_path) -> None:
    (tmp_path / "runs.csv").write_text("\n".join(SWEEP))
    code = (
        "import sys, os; from forescale.cli import main\n"
        "import atexit; atexit.register(lambda: print(os.environ['OPENBLAS_NUM_THREADS'], file=sys.stderr))\n"
        f"main(['score', {str(tmp_path / 'runs.csv')!r}])"
    )
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "1"
