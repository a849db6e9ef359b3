"""How much memory runs need, and whether one more would fit; from what the system tells, so on Linux alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forescale.sweep._job import Job

WORKER = 4e8  # bytes of a process that has torch loaded
PER_PARAM = 16  # bytes: weight, gradient and two moments in fp32
ACTIVATIONS, MOST_ACTIVATIONS = 34, 2e9  # numbers a token, layer and unit of width; bytes, more makes a micro-batch
Size = str


def size_of(job: Job) -> Size:
    """What decides how much memory a run of our own trainer takes; a command's, whatever its fields."""
    settings = job.settings
    names = ("shape", "seq_len", "batch_sequences", "optimizer", "precision")
    told = [settings.get(name) for name in names] if job.trainer == "forescale" else [settings.get("command")]
    return json.dumps([told, job.execution.get("micro_batch")], sort_keys=True)


def estimate(job: Job) -> float:
    """Bytes of a run that none like it was seen of; 0 for a command, of which nothing is known."""
    if job.trainer != "forescale":
        return 0.0
    shape: Mapping[str, Any] = job.settings["shape"]
    width, vocab = float(shape["width"]), float(shape.get("vocab") or 0)
    params = float(job.row["params"]) + 2 * vocab * width
    sequences = job.execution.get("micro_batch") or job.settings["batch_sequences"]
    token = 4 * ACTIVATIONS * float(shape["layers"]) * width + 12 * vocab
    return WORKER + PER_PARAM * params + min(token * sequences * job.settings["seq_len"], MOST_ACTIVATIONS)


class Guard:
    """Remembers what runs took, and holds one back that would not fit beside those that run."""

    def __init__(self) -> None:
        self._seen: dict[Size, float] = {}

    def saw(self, job: Job, peak: float) -> None:
        """A run like this one took `peak` bytes."""
        size = size_of(job)
        self._seen[size] = max(peak, self._seen.get(size, 0.0))

    def need(self, job: Job) -> float:
        """Bytes, measured where a run like it was seen."""
        return self._seen.get(size_of(job)) or estimate(job)

    def short_of(self, jobs: Sequence[Job], running: Mapping[int, Sequence[Job]]) -> float:
        """Bytes that are missing for the jobs beside those that run, by the process they run in; 0: they fit."""
        free = available()
        if free is None:
            return 0.0
        growth = sum(max(0.0, self.need_of(group) - resident(pid)) for pid, group in running.items())
        return max(0.0, self.need_of(jobs) + growth - free)

    def need_of(self, jobs: Sequence[Job]) -> float:
        """Bytes of a process that makes the jobs together."""
        return sum(map(self.need, jobs))


def available() -> float | None:
    """Bytes that new work can have without swapping, by the machine and by the groups that limit this process."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        told = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([1024 * float(told), *_left_in_groups()])


def _left_in_groups() -> list[float]:
    """Bytes under the limit of each control group (version 2) that this process is in."""
    try:
        path = Path("/proc/self/cgroup").read_text("ascii").strip().rpartition("::")[2]
    except OSError:
        return []
    group = Path("/sys/fs/cgroup") / path.lstrip("/")
    return [left for folder in (group, *group.parents) if (left := _left_in(folder)) is not None]


def _left_in(folder: Path) -> float | None:
    try:
        most = (folder / "memory.max").read_text("ascii").strip()
        used = float((folder / "memory.current").read_text("ascii"))
        cached = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else float(most) - used + float(cached.get("inactive_file", 0))


def resident(pid: int) -> float:
    """Bytes that a process holds now; 0 where it is gone."""
    return _status(pid, "VmRSS")


def peak() -> float:
    """The most bytes that this process has held since `forget_peak`."""
    return _status("self", "VmHWM")


def forget_peak() -> None:
    """Count the peak from now on; where the system refuses, it is that of all runs of the process, on the safe side."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def _status(pid: int | str, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((1024 * float(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0.0)
