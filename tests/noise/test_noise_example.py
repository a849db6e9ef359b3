"""The example of a script on FSDP2 runs as it says: two processes, a noise scale with an interval."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "noise" / "fsdp.py"


def test_the_fsdp_script_says_a_noise_scale_with_its_interval() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*command, "--steps", "20"], capture_output=True, text=True, env=environment, check=True, timeout=300
    )
    found = re.findall(r"noise scale (\S+) sequences \((\S+) to (\S+)\)", ran.stdout)
    assert len(found) == 2, ran.stdout + ran.stderr
    value, low, high = map(float, found[-1])
    assert 0 < low < value < high
