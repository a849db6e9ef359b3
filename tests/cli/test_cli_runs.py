"""`forescale runs` on a small sweep that was really trained; bad input is one sentence."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import forescale
from forescale.cli import main
from forescale.sweep import Job, Outcome, run_job, train_job
from forescale.sweep.store import Store, open_store
from forescale.train import TrainConfig
from forescale.workload import Shape

RATES = (8e-3, 1e-2, 900.0, 2e-2, 3e-2, 4e-2, 5e-2)


def job_at(rate: float, text: Path) -> Job:
    shape = Shape(layers=1, width=16, heads=2, vocab=256, ffn_width=32)
    config = TrainConfig(
        shape=shape,
        seq_len=16,
        steps=100,
        batch_sequences=8,
        learning_rate=rate,
        weight_decay=0.1,  # at a rate of 900 it multiplies weights by -89 a step: the run diverges
        data=(str(text),),
        eval_tokens=512,
        threads=1,
    )
    return train_job(config)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store: two runs done, one diverged, and one each failed, stopped, running and planned."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "text.txt"
    text.write_text("".join(f"line {i} of a text, whose square is {i * i}\n" for i in range(2000)))
    store = open_store(folder / "sweep.db")
    jobs = [job_at(rate, text) for rate in RATES]
    store.add(jobs, design="grid.toml")
    for job in jobs[:3]:
        store.claim("a", 1)
        store.record(job.key, run_job(job, store.folder(job.key)))
    store.claim("a", 3)
    store.record(jobs[3].key, Outcome(state="failed", problem="out of memory\nand more"))
    store.record(
        jobs[4].key, Outcome(state="stopped", loss=5.0, row={"steps": 10, "tokens": 1280}, problem="dominated")
    )
    running = store.folder(jobs[5].key)
    running.mkdir()
    lines = ({"step": step, "tokens": 128 * step, "loss": 6 - step / 10} for step in range(1, 11))
    (running / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("COLUMNS", "160")
    return open_store("sweep.db", create=False)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["runs", *arguments])
    return int(stop.value.code or 0)


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def key(store: Store, state: str) -> str:
    return next(entry.key for entry in store.jobs() if entry.state == state)


def test_the_fixture_is_what_it_says(store: Store) -> None:
    states = [entry.state for entry in store.jobs()]
    assert states == ["done", "done", "diverged", "failed", "stopped", "running", "planned"]


def test_ls_has_a_line_a_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls") == 0
    out = capsys.readouterr().out
    assert out.startswith("sweep.db: 7 runs: 1 planned, 1 running, 2 done, 1 stopped, 1 diverged, 1 failed\nalike: ")
    lines = {entry.state: next(line for line in out.splitlines() if entry.key in line) for entry in store.jobs()}
    assert "10%, loss 5.0000" in lines["running"]  # 10 of 100 steps, and the loss of the last line
    assert lines["failed"].rstrip().endswith("out of memory")
    assert "inf" in lines["diverged"]
    best = min((e for e in store.jobs(["done"])), key=lambda e: e.outcome.loss)
    assert f"best: {best.key}, loss {best.outcome.loss:.4f}" in out


@pytest.mark.usefixtures("store")
def test_ls_in_json_and_by_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", "--json", "--failed", "--state", "running") == 0
    document = shown(capsys)
    assert document["counts"]["done"] == 2
    assert [each["state"] for each in document["runs"]] == ["failed", "running"]
    assert [each["progress"] for each in document["runs"]] == [None, 0.1]
    assert document["runs"][1]["row"]["learning_rate"] == 4e-2


def test_show_has_settings_and_the_curve(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", key(store, "done")[:8]) == 0
    out = capsys.readouterr().out
    assert re.search(r"learning_rate +0.008 *\n", out)
    assert re.search(r"shape.ffn_width +32 *\n", out)
    assert re.search(r"12\.8K *\n *tokens *\n", out)  # the end of the curve's axis


def test_show_of_a_run_that_failed_says_why(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", key(store, "failed")) == 0
    assert "out of memory" in capsys.readouterr().out
    assert run("show", key(store, "diverged"), "--json") == 0
    document = shown(capsys)["run"]
    assert document["loss"] is None
    assert document["settings"]["learning_rate"] == 900.0


def test_diff_shows_what_differs_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (entry.key for entry in store.jobs(["done"]))
    assert run("diff", one, two) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines[:2]] == [[one, two], ["learning_rate", "0.008", "0.01"]]
    assert lines[2].split() == ["state", "done", "done"]
    assert run("diff", one, two, "--json") == 0
    assert shown(capsys)["settings"] == {"learning_rate": [0.008, 0.01]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_an_export_is_read_as_what_was_measured(store: Store, suffix: str) -> None:
    assert run("export", f"runs{suffix}") == 0
    runs = forescale.read_runs(f"runs{suffix}")
    # The second way to the same runs: their folders, by the reader of `forescale train`'s results.
    folders = forescale.read_runs(store.runs)
    names = ["learning_rate", "loss", "params", "tokens", "batch_tokens", "weight_decay"]
    order = "learning_rate"
    assert runs.frame.select(names).sort(order).equals(folders.frame.select(names).sort(order))
    assert runs.frame["loss"].is_infinite().sum() == runs.diverged == 1
    assert runs.frame["state"].to_list() == ["done", "done", "diverged"]
    assert not runs.notes
    assert store.as_runs().frame.select(names).equals(runs.frame.select(names))


def test_an_export_of_all_runs_is_read_without_those_that_did_not_finish(store: Store) -> None:
    states = "planned,running,done,stopped,diverged,failed"
    assert run("export", "all.csv", "--state", states) == 0
    runs = forescale.read_runs("all.csv")
    assert runs.read == 7
    assert runs.unfinished == 4  # a stopped run's loss is none to learn from
    assert runs.frame["state"].to_list() == ["done", "done", "diverged"]
    stopped = store.table(["stopped"])
    assert stopped["steps"].item() == 100  # the workload it was meant for
    assert stopped["steps_taken"].item() == 10


@pytest.mark.usefixtures("store")
def test_fit_reads_an_export_without_further_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "runs.csv") == 0
    with pytest.raises(SystemExit) as stop:
        main(["fit", "runs.csv", "--json"])
    assert stop.value.code in (0, 2)
    # Three runs are few for a law, and fit says so; that it could not read them it must not say.
    assert not re.search("column|cannot be read", capsys.readouterr().err)


@pytest.mark.usefixtures("store")
def test_export_says_what_it_wrote_and_overwrites_no_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "runs.csv", "--json", "--stopped") == 0
    assert shown(capsys)["runs"] == {"stopped": 1}
    assert run("export", "sweep.json", "--store", "sweep.json") == 2


def test_retry_plans_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("retry", "--failed", "--stopped") == 0
    assert "2 runs planned again" in capsys.readouterr().err
    assert store.counts()["planned"] == 3
    diverged = key(store, "diverged")
    assert run("retry", diverged[:10], "--json") == 0
    assert shown(capsys)["planned"] == [diverged]
    assert not store.folder(diverged).exists()


def test_rm_asks_first(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gone = key(store, "done")
    assert run("rm", gone) == 2
    said = capsys.readouterr().err
    assert f"{gone} (done, loss " in said
    assert "nothing was deleted: say --yes" in said
    assert store.folder(gone).exists()
    assert run("rm", gone, "--yes", "--json") == 0
    assert shown(capsys)["deleted"] == [gone]
    assert not store.folder(gone).exists()
    assert run("rm", "--state", "running", "--yes") == 2
    assert "must not be running" in capsys.readouterr().err
    monkeypatch.setattr("forescale.cli._runs._agreed", lambda question: "1 run" in question)
    assert run("rm", "--failed") == 0
    assert store.counts() == {"planned": 1, "running": 1, "done": 1, "stopped": 1, "diverged": 1}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("list",), "runs takes one of ls, show, export, diff, retry, rm; got 'list'"),
        (("ls", "abc"), "runs ls takes no keys; got abc"),
        (("ls", "--store", "none.db"), "there is no store none.db"),
        (("ls", "--store", "text.txt"), "is no store: the file is not an SQLite database"),
        (("ls", "--state", "over"), "--state takes states, separated by commas: planned, .*; got 'over'"),
        (("ls", "--state", ","), "--state takes states, separated by commas"),
        (("ls", "--yes"), "--yes means nothing to runs ls"),
        (("show",), "runs show takes the key of one run; got 0"),
        (("show", "zzz"), "no run of sweep.db has a key that begins with 'zzz'"),
        (("show", "zzz", "--failed"), "runs show looks at the runs that it is given"),
        (("diff", "a"), "runs diff takes the keys of two runs; got 1"),
        (("export",), "runs export takes one file; got 0"),
        (("export", "runs.xlsx"), "runs export writes .csv, .parquet, .json; got runs.xlsx"),
        (("export", "none/runs.csv"), "cannot be written: there is no folder none"),
        (("export", "runs.csv", "--lost"), r"has no run that is lost \(it has 1 planned"),
        (("retry",), "runs retry takes keys of runs or states"),
        (("retry", "a", "--failed"), "one of the two"),
        (("retry", "--lost"), "has no run that is lost"),
        (("retry", "--state", "done"), "a run that is made again must be one of failed"),
        (("rm",), "runs rm takes keys of runs or states"),
    ],
)
@pytest.mark.usefixtures("store")
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert re.search(sentence, said.err.splitlines()[-1])
    assert not said.out


def test_one_run_is_not_compared_with_itself(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", key(store, "done"), key(store, "done")) == 2
    assert "compares two runs" in capsys.readouterr().err


def test_a_migrated_store_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE forescale_store SET value = '0' WHERE name = 'version'")
    assert run("ls") == 0
    assert "forescale: the store sweep.db was of version 0; it was brought up to version 1." in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_losses_in_json_are_numbers_or_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", "--json") == 0
    out = capsys.readouterr().out
    json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    losses = {each["state"]: each["loss"] for each in json.loads(out)["runs"]}
    assert losses["diverged"] is None
    assert math.isfinite(losses["done"])
