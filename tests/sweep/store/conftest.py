"""A store in each kind of database: an SQLite file, and a real PostgreSQL that the tests start and stop themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forescale.sweep.store import Store, open_store

DEBIAN = Path("/usr/lib/postgresql")
ADDRESS = "postgresql+psycopg://forescale@/postgres?host={folder}&options=-csearch_path%3D{schema}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A function that makes an empty schema and returns its address; skips where PostgreSQL is not installed."""
    if (programs := _programs()) is None:
        pytest.skip(f"no PostgreSQL here (initdb is neither on the path nor in {DEBIAN}): apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="fs-pg-", dir="/tmp"))  # short: a socket's path has 107 bytes at most
    who: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "nobody")
        who |= {"user": "nobody", "extra_groups": []}
    try:
        options = ("--username=forescale", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        made = subprocess.run([programs / "initdb", "-D", "data", *options], capture_output=True, text=True, **who)
        assert made.returncode == 0, made.stderr
        command = [programs / "postgres", "-D", "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, **who)
        try:
            yield _maker(folder, server)
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing is to be kept
            server.wait(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next((path.parent for path in sorted(DEBIAN.glob("*/bin/initdb"), reverse=True)), None)


def _maker(folder: Path, server: subprocess.Popen[bytes]) -> Callable[[], str]:
    import psycopg

    made: list[str] = []

    def make() -> str:
        until = time.monotonic() + 30
        made.append(f"sweep{len(made)}")
        while True:
            try:
                address = f"host={folder} user=forescale dbname=postgres"
                with psycopg.connect(address, autocommit=True) as connection:
                    connection.execute(f"CREATE SCHEMA {made[-1]}")
                return ADDRESS.format(schema=made[-1], folder=folder)
            except psycopg.OperationalError:  # it is starting
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.05)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that is not there yet, one of each kind."""
    return str(tmp_path / "sweep.db") if request.param == "sqlite" else request.getfixturevalue("postgres")()


@pytest.fixture
def store(where: str, tmp_path: Path) -> Store:
    return open_store(where, runs=tmp_path / "folders")
