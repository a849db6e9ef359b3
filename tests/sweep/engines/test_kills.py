"""Kill -9 the driver, a worker, the server that forks workers, or all at once, at random moments: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from engine_jobs import children, measured, planned, tiny_jobs

from forescale.sweep import Job
from forescale.sweep.engines import LocalEngine, drive
from forescale.sweep.store import Store, open_store

KINDS = ("worker", "driver", "server", "machine", "worker", "worker")
BATCH, STEPS = 3, 150


class Sweep:
    """A sweep under a driver of its own process, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = folder / "killed.db"
        self.store: Store = open_store(self.where)
        self.jobs: list[Job] = []
        self.driver = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the driver; where everything is done already, there is more to do first."""
        if set(self.store.counts()) <= {"done"}:
            self.jobs = tiny_jobs(self.folder, len(self.jobs) + BATCH, steps=STEPS, checkpoint_every=7)
            self.store.add(self.jobs)
        script = Path(__file__).with_name("engine_jobs.py")
        return subprocess.Popen([sys.executable, str(script), str(self.where)])

    def processes(self) -> dict[str, list[int]]:
        """Who can be killed now, by what it is."""
        started = {child: children(child) for child in children(self.driver.pid)}
        workers = [worker for group in started.values() for worker in group]
        everybody = [*started, *workers, self.driver.pid]
        servers = [child for child, group in started.items() if group]
        return {"driver": [self.driver.pid], "server": servers, "worker": workers, "machine": everybody}

    def kill(self, kind: str, draw: random.Random) -> bool:
        """Kill one of this kind, if there is one."""
        found = self.processes()[kind]
        if not found:
            return False
        for victim in found if kind == "machine" else [draw.choice(found)]:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return True


def disturbed(folder: Path, kinds: list[str], draw: random.Random) -> Sweep:
    """A sweep with these kills, in this order, each at a random moment; then left in peace until it ends."""
    sweep = Sweep(folder)
    for kind in kinds:
        time.sleep(draw.uniform(0.0, 1.0))
        while not sweep.kill(kind, draw):
            if sweep.driver.poll() is not None:
                sweep.driver = sweep.start()
            time.sleep(draw.uniform(0.0, 0.2))
        if kind in ("driver", "machine"):
            sweep.driver.wait()
            sweep.driver = sweep.start()
    code = sweep.driver.wait()
    assert code == 0
    return sweep


def check(tmp_path: Path, kinds: list[str], seed: int) -> None:
    sweep = disturbed(tmp_path, kinds, random.Random(seed))
    undisturbed = planned(tmp_path / "undisturbed.db", sweep.jobs)
    drive(undisturbed, LocalEngine(workers=2, threads=1, device="cpu"), progress=False)
    table = measured(sweep.store)
    assert table["state"].to_list() == ["done"] * len(sweep.jobs)
    assert table.equals(measured(undisturbed))
    assert max(entry.attempts for entry in sweep.store.jobs()) > 1  # the kills did meet runs
    lines = [(sweep.store.folder(job.key) / "metrics.jsonl").read_text().splitlines() for job in sweep.jobs]
    assert [len(each) for each in lines] == [STEPS] * len(sweep.jobs)


def test_six_kills(tmp_path: Path) -> None:
    check(tmp_path, list(KINDS), seed=0)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    draw = random.Random(1)
    check(tmp_path, [draw.choice(KINDS) for _ in range(50)], seed=2)
