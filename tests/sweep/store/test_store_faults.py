"""What is no store, another version's, read-only, locked, full, damaged or out of reach: one sentence, nothing lost."""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store_jobs import make_job

from forescale.errors import ForescaleError, MissingExtraError
from forescale.sweep import Outcome
from forescale.sweep.store import Store, open_store
from forescale.sweep.store import _database as database


def change(store: Store, *statements: str) -> None:
    with store.engine.connect() as connection, connection.begin():
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_older_store_is_brought_up_to_this_version(where: str, store: Store) -> None:
    store.add([make_job(n) for n in range(3)], design="grid")
    store.claim("a", 2)
    store.record(make_job(0).key, Outcome(state="done", loss=3.0))
    before = store.jobs()
    change(
        store,
        "ALTER TABLE forescale_runs DROP COLUMN attempts",
        "ALTER TABLE forescale_runs DROP COLUMN design",
        "UPDATE forescale_store SET value = '0' WHERE name = 'version'",
    )
    again = open_store(where, create=False)
    assert re.search("was of version 0; it was brought up to version 1", again.notes[0])
    after = again.jobs()
    assert [(e.key, e.state, e.job, e.outcome, e.owner) for e in after] == [
        (e.key, e.state, e.job, e.outcome, e.owner) for e in before
    ]
    assert {(e.design, e.attempts) for e in after} == {("", 0)}
    assert again.claim("b", 1) == [make_job(2)]
    assert open_store(where).notes == ()


def test_a_newer_store_is_refused(where: str, store: Store) -> None:
    change(store, "UPDATE forescale_store SET value = '2' WHERE name = 'version'")
    with pytest.raises(
        ForescaleError, match=r"newer forescale \(store version 2, this one reads up to 1\): pip install"
    ):
        open_store(where)


def test_a_server_needs_a_folder_of_runs_once(postgres: Any, tmp_path: Path) -> None:
    where = postgres()
    with pytest.raises(ForescaleError, match=r"say which folder they go to \(--runs\)"):
        open_store(where)
    open_store(where, runs=tmp_path)
    assert open_store(where).runs == tmp_path
    assert open_store(where, runs=tmp_path / "elsewhere").runs == tmp_path / "elsewhere"


def test_the_driver_of_a_bare_address_is_psycopg_and_no_password_is_shown(postgres: Any, tmp_path: Path) -> None:
    where = postgres().replace("postgresql+psycopg://forescale@", "postgresql://forescale:secret@")
    store = open_store(where, runs=tmp_path)
    assert store.engine.driver == "psycopg"
    assert "secret" not in repr(store)


def test_a_file_has_its_runs_beside_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sweep.db")
    assert store.folder("abc") == tmp_path / "sweep.db.runs" / "abc"
    assert open_store(f"sqlite:///{tmp_path}/sweep.db").runs == store.runs


def test_a_store_stays_where_it_is_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sweep.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.add([make_job(1)]) == 1
    assert store.folder("abc") == tmp_path / "sweep.db.runs" / "abc"


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("", "a store must be a file such as sweep.db; got ''"),
        ("{tmp}", "a store must be a file such as sweep.db; got a folder, "),
        ("{tmp}/none/sweep.db", "cannot be made: No such file or directory"),
        ("{tmp}/text", "is no store: the file is not an SQLite database"),
        ("{tmp}/other.db", r"is an SQLite database of something else \(tables: studies\): name another file"),
        ("sqlite://", "must be a file; got a database in memory"),
        ("nosuch://host/base", "a store is a file .* or a database's address .*nosuch"),
        ("postgresql://host:port/base", "a store is a file .* or a database's address"),
        ("postgresql://me@127.0.0.1:1/base", r"the store .* cannot be used \(.*127.0.0.1.*\): look at its address"),
        ("mysql://me@127.0.0.1/base", "needs MySQLdb: pip install mysqlclient"),
    ],
)
def test_what_cannot_be_a_store_is_one_sentence(where: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("learning_rate,loss\n" * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE studies (id)")
    with pytest.raises(ForescaleError, match=sentence) as raised:
        open_store(where.format(tmp=tmp_path), runs=tmp_path)
    assert "\n" not in str(raised.value)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # left as it was


def test_a_store_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match=r"there is no store .*sweep.db: name another one"):
        open_store(tmp_path / "sweep.db", create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(ForescaleError, match="holds no store"):
        open_store(tmp_path / "empty.db", create=False)
    assert open_store(tmp_path / "empty.db").jobs() == []  # as a killed process leaves it


def test_patience_is_a_time(tmp_path: Path) -> None:
    with pytest.raises(ForescaleError, match="patience must be above zero seconds; got 0"):
        open_store(tmp_path / "sweep.db", patience=0)


def test_a_store_without_sqlalchemy_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"needs sqlalchemy: pip install 'forescale\[train\]'"):
        open_store(tmp_path / "sweep.db")


def test_a_locked_store_is_waited_for_and_then_said(where: str, store: Store) -> None:
    store.add([make_job(1)])
    hasty = open_store(where, patience=0.3)
    with store.engine.connect().execution_options(write=True) as other, other.begin():
        if other.dialect.name == "postgresql":
            other.exec_driver_sql("LOCK TABLE forescale_runs")
        began = time.monotonic()
        with pytest.raises(ForescaleError, match=r"is locked by another process \(waited 0.3 s\)"):
            hasty.claim("a", 1)
        assert time.monotonic() - began > 0.25
    assert hasty.claim("a", 1) == [make_job(1)]


def test_a_read_only_store_is_read_and_says_that_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "sweep.db"
    open_store(where).add([make_job(1)])
    monkeypatch.setattr(database.os, "access", lambda *_: False)  # root may write everywhere
    store = open_store(where, create=False)
    assert [entry.job for entry in store.jobs()] == [make_job(1)]
    for call in (lambda: store.claim("a", 1), lambda: store.add([make_job(2)])):
        with pytest.raises(ForescaleError, match="cannot be written: the file or its folder is read-only"):
            call()


def test_a_full_disk_is_said_and_what_was_recorded_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "sweep.db")
    store.add([make_job(1)])
    store.claim("a", 1)
    store.record(make_job(1).key, Outcome(state="done", loss=3.0))
    connect = database.connect

    def limited(path: Path, patience: float) -> sqlite3.Connection:
        connection = connect(path, patience)
        connection.execute("PRAGMA max_page_count = 10")  # SQLite's own way to be full
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", limited)
        with pytest.raises(ForescaleError, match="the disk is full; make room and go on, what was recorded is kept"):
            store.add([make_job(n) for n in range(500)])
        assert store.counts() == {"done": 1}
    assert store.add([make_job(n) for n in range(500)]) == 499


def test_a_damaged_store_is_said(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sweep.db")
    store.add([make_job(n) for n in range(300)])
    with (tmp_path / "sweep.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    with pytest.raises(ForescaleError, match=r"is damaged \(.*\): move it away and sweep again"):
        store.jobs()


def test_a_store_that_vanished_is_not_made_anew(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sweep.db")
    (tmp_path / "sweep.db").unlink()
    with pytest.raises(ForescaleError, match="cannot be opened"):
        store.counts()
    assert not (tmp_path / "sweep.db").exists()
