"""As much of Slurm as submitit uses, on this machine: sbatch with arrays, srun, sacct, scancel and scontrol requeue.

One file that does each command's part by its name; what it knows of jobs is a folder of files, FAKE_SLURM.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder: Path) -> dict[str, str]:
    """Put the commands into a folder; the environment in which they are found."""
    (folder / "state").mkdir(parents=True)
    for name in COMMANDS:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} {name} "$@"\n')
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "FAKE_SLURM": str(folder / "state")}


def state() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def sbatch(arguments: list[str]) -> None:
    script = Path(arguments[-1]).read_text()
    number = str(100 + len(list(state().glob("*.sh"))))
    (state() / f"{number}.sh").write_text(script)
    array = re.search(r"#SBATCH --array=0-(\d+)", script)
    for index in range(int(array[1]) + 1) if array else [None]:
        job = number if index is None else f"{number}_{index}"
        (state() / f"{job}.state").write_text("PENDING")
        quiet = subprocess.DEVNULL  # a pipe that a job held open would be waited for
        subprocess.Popen([sys.executable, __file__, "job", job], start_new_session=True, stdout=quiet, stderr=quiet)
    print(f"Submitted batch job {number}")


def job(arguments: list[str]) -> None:
    """Runs a job's script, again as long as it is queued again."""
    name = arguments[0]
    number, _, index = name.partition("_")
    env = {**os.environ, "SLURM_JOB_ID": name, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
    env |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if index:
        env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    again = state() / f"{name}.again"
    while True:
        again.unlink(missing_ok=True)
        (state() / f"{name}.state").write_text("RUNNING")
        process = subprocess.Popen(["bash", str(state() / f"{number}.sh")], env=env, start_new_session=True)
        (state() / f"{name}.pid").write_text(str(process.pid))
        code = process.wait()
        if not again.exists():
            break
        with (state() / f"{name}.queued_again").open("a") as file:
            file.write("x")
    if (state() / f"{name}.state").read_text() != "CANCELLED":
        (state() / f"{name}.state").write_text("FAILED" if code else "COMPLETED")


def srun(arguments: list[str]) -> None:
    number, _, index = os.environ["SLURM_JOB_ID"].partition("_")
    names = {"%A": number, "%a": index, "%j": os.environ["SLURM_JOB_ID"], "%t": "0"}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            path = re.sub("%[Aajt]", lambda found: names[found[0]], arguments.pop(0))
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1 if option == "--output" else 2)
    os.execvp(arguments[0], arguments)


def sacct(_arguments: list[str]) -> None:
    print("JobID|State|NodeList")
    for file in sorted(state().glob("*.state")):
        print(f"{file.stem}|{file.read_text()}|here")


def scancel(arguments: list[str]) -> None:
    for name in arguments:
        (state() / f"{name}.state").write_text("CANCELLED")
        with suppress(OSError):
            os.killpg(int((state() / f"{name}.pid").read_text()), signal.SIGTERM)
        time.sleep(0.2)
        with suppress(OSError):
            os.killpg(int((state() / f"{name}.pid").read_text()), signal.SIGKILL)


def scontrol(arguments: list[str]) -> None:
    assert arguments[0] == "requeue"
    (state() / f"{arguments[1]}.again").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
