"""The example script trains, alone and sharded over two processes, to the same losses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "transfer" / "train_llama.py"
SMALL = ("--width", "128", "--depth", "2", "--steps", "6", "--sequences", "4", "--seq-len", "32")


def run(*command: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_process_and_two_sharded_ones_print_the_same_losses(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    alone = run(str(SCRIPT), *SMALL, str(text))
    sharded = run(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"), str(SCRIPT), *SMALL, str(text)
    )
    assert alone == sharded
    first, last = (float(line.split()[-1]) for line in alone.splitlines())
    assert last < first - 1
