"""A corpus for all tests of populations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "loop"))

from loop_runs import tiny_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A few kilobytes of text as bytes."""
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))
