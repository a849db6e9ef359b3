"""A meter on a GPU sends norm layers through the kernels; Triton's interpreter stands for the GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_a_meter_finds_the_same_through_the_kernels() -> None:
    script = Path(__file__).parent / "kernels_in_meter.py"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
