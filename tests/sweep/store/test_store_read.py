"""A store's file as a table of runs, read without the store: the same as its export."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from store_jobs import make_job

from forescale.cli import main
from forescale.errors import ForescaleError
from forescale.runs import read_runs
from forescale.sweep import Outcome
from forescale.sweep.store import open_store

ENDS = (
    Outcome(state="done", loss=3.0, row={"seconds": 2.5, "tokens": 2e7, "steps": 2442, "notes": ["a"]}),
    Outcome(state="diverged", loss=math.inf, row={"tokens": 5e6, "steps": 610}),
    Outcome(state="failed", problem="no memory"),
    Outcome(state="stopped", loss=9.0, row={"tokens": 1e6}, problem="would not have been the best"),
)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a run of each end, and one that is planned."""
    found = tmp_path / "sweep.db"
    store = open_store(found)
    store.add([make_job(number) for number in range(len(ENDS) + 1)], design="grid")
    for job, outcome in zip(store.claim("me", len(ENDS)), ENDS, strict=True):
        store.record(job.key, outcome, "me")
    return found


def test_a_store_reads_like_its_export(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "export", "--store", str(path), str(tmp_path / "runs.csv")])
    capsys.readouterr()
    direct, exported = read_runs(path), read_runs(tmp_path / "runs.csv")
    common = [name for name in exported.frame.columns if exported.frame[name].null_count() < exported.frame.height]
    assert_frame_equal(direct.frame.select(common), exported.frame.select(common), check_dtypes=False)
    assert direct.frame["loss"].to_list() == [3.0, math.inf]
    assert direct.frame["tokens"].to_list() == [2e7, 2e7]  # a diverged run's are those it was planned for


def test_runs_that_did_not_end_are_counted(path: Path) -> None:
    runs = read_runs(path)
    assert runs.unfinished == 3
    assert any("failed, planned, stopped" in note for note in runs.notes)


def test_the_store_is_not_changed(path: Path) -> None:
    open_store(path)
    before = path.read_bytes()
    path.chmod(0o444)
    read_runs(path)
    assert path.read_bytes() == before


def test_what_a_driver_writes_meanwhile_is_no_obstacle(path: Path) -> None:
    store = open_store(path)
    (job,) = store.claim("other", 1)
    assert read_runs(path).unfinished == 3
    store.record(job.key, Outcome(state="done", loss=2.5), "other")
    assert read_runs(path).frame.height == 3


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE forescale_runs SET job = '{' WHERE number = 2", "is damaged: its job or outcome"),
        ("UPDATE forescale_runs SET outcome = '[1]' WHERE number = 1", "is damaged"),
        ("DELETE FROM forescale_runs", "has no runs"),
        ("ALTER TABLE forescale_runs RENAME COLUMN job TO task", "of a version that is not known"),
    ],
)
def test_faults_are_sentences(path: Path, statement: str, said: str) -> None:
    change(path, statement)
    with pytest.raises(ForescaleError, match=said):
        read_runs(path)


def test_a_store_has_no_parts(path: Path) -> None:
    with pytest.raises(ForescaleError, match="names a study or an experiment"):
        read_runs(f"{path}::grid")
