"""A trainer's processes: one group, watched until all of it has ended, or was made to."""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from forescale.errors import ForescaleError

PROCESS = "process.json"  # of a run, while it runs: which processes are its own
TICK = 0.1  # seconds between looks
SETTLE = 2.0  # seconds that helpers of a program that has ended may go on printing
CHUNK = 1 << 16


def start(command: Sequence[str], folder: Path, cwd: str | None, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the command in a group of its own, its output in a pipe; raises `ForescaleError` where it cannot start."""
    try:
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        where = "" if cwd is None or Path(cwd).is_dir() else f" (there is no folder {cwd})"
        raise ForescaleError(
            f"{command[0]} cannot be started: {error.strerror or error}{where}: correct the command or its cwd."
        ) from None
    with suppress(OSError):  # a full disk
        text = {"pid": process.pid, "began": _began(process.pid), "host": platform.node()}
        (folder / PROCESS).write_text(json.dumps(text), encoding="utf-8")
    return process


def watch(
    process: subprocess.Popen[bytes], feed: Callable[[bytes], None], ending: Callable[[], str], grace: float
) -> str:
    """Feed what is printed until the process and its output have ended; `ending` says why to end it ('' to go on).

    Returns the reason for which it was ended, '' where it ended by itself. Nothing of its group is left.
    """
    reason, asked, ended = "", 0.0, 0.0
    try:
        while True:
            printed = _take(process, feed)
            now = time.monotonic()
            if not ended and process.poll() is not None:
                ended = now
            if ended and (not printed or now - ended > SETTLE):
                return reason
            if not reason and not ended and (reason := ending()):
                asked = now
                _signal(process.pid, signal.SIGTERM)
            elif reason and now - asked > grace:
                _signal(process.pid, signal.SIGKILL)
    finally:
        _signal(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _take(process: subprocess.Popen[bytes], feed: Callable[[bytes], None]) -> bool:
    """Feed what there is, or wait a moment for it; whether the pipe is still open."""
    assert process.stdout is not None
    handle = process.stdout.fileno()
    if not select.select([handle], [], [], TICK)[0]:
        return True
    if chunk := os.read(handle, CHUNK):
        feed(chunk)
        return True
    if process.poll() is None:
        time.sleep(TICK)  # it has closed its output and works on
    return False


def end_leftovers(folder: Path) -> None:
    """End what a killed worker's trainer left running, so that two never write to one folder."""
    file = folder / PROCESS
    try:
        left = json.loads(file.read_text("utf-8"))
        pid, began, host = int(left["pid"]), left["began"], left["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if host == platform.node() and began is not None and _began(pid) == began:
        _signal(pid, signal.SIGKILL)
        deadline = time.monotonic() + SETTLE
        while _began(pid) == began and time.monotonic() < deadline:
            time.sleep(TICK / 10)
    file.unlink(missing_ok=True)


def _began(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where it has ended or the system does not say."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        return None if state == "Z" else values[18]
    except (OSError, ValueError, IndexError):
        return None


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
