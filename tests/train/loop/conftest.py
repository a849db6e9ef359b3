"""A corpus for all tests of the loop."""

from __future__ import annotations

from typing import Any

import pytest
from loop_runs import tiny_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A few kilobytes of text as bytes."""
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))
