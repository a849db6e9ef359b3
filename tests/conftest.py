"""Shared fixtures: where the real data lies."""

from __future__ import annotations

import os
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
