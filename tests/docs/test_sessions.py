"""The sessions printed in README and tutorial are what the commands print today; their Python runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/tutorial.md")


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block of that language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.M | re.S)
    return [(page, text) for page in PAGES for text in fence.findall((ROOT / page).read_text(encoding="utf-8"))]


def shell(command: str) -> str:
    """Standard output of a session's command, in a terminal of 100 columns."""
    python = command.replace("forescale ", f"{sys.executable} -m forescale ", 1)
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(python, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


@pytest.mark.parametrize(("page", "session"), blocks("console"))
def test_a_session_is_real(page: str, session: str) -> None:
    command, _, printed = session.partition("\n")
    assert command.startswith("$ forescale "), page
    assert printed.rstrip() == shell(command[2:]), f"{page}: run `python tools/refresh_sessions.py`"


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_runs(page: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, page, "exec"), script() if "model" in code else {})


def script() -> dict[str, Any]:
    """What a training script has already: torch, and a model with the head size of the page's base."""
    import torch

    from forescale.train import build_model
    from forescale.workload import Shape

    return {"torch": torch, "model": build_model(Shape(layers=1, width=64, heads=1, vocab=256), seq_len=8)}
