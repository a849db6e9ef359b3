"""Shared fixtures: where the real data lies, and running a command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forescale.cli._threads import use_one_thread

use_one_thread()  # before numpy is loaded: workers of pytest-xdist would fight for the cores

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FORESCALE_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data; without it the test fails in CI and skips elsewhere."""
    if not DATA.is_dir():
        reason = f"no data folder at {DATA}: set FORESCALE_DATA"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return DATA


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process; return exit code, standard output and standard error."""
    from forescale.cli import main

    monkeypatch.setenv("COLUMNS", "140")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(each) for each in arguments])
        return int(stop.value.code or 0), *capsys.readouterr()

    return call
