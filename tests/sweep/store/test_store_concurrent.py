"""Several drivers on one store, and drivers that are killed: no run is given twice, no recorded run is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import store_jobs
from store_jobs import loss_of, make_job

from forescale.sweep.store import Store, open_store

PROGRAM = [sys.executable, "-W", "error", store_jobs.__file__]


def test_no_run_is_claimed_twice(where: str, store: Store) -> None:
    jobs = [make_job(number) for number in range(60)]
    store.add(jobs)
    drivers = [
        subprocess.Popen(
            [*PROGRAM, "claim", where, str(store.runs), f"driver {n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    for driver in drivers:
        assert driver.stdout.readline() == "ready\n"
    for driver in drivers:
        driver.stdin.write("go\n")
        driver.stdin.flush()
    got = [json.loads(driver.communicate(timeout=120)[0]) for driver in drivers]
    assert all(driver.returncode == 0 for driver in drivers)
    assert sorted(key for keys in got for key in keys) == sorted(job.key for job in jobs)
    assert sum(bool(keys) for keys in got) > 1  # they did run beside each other
    owners = {entry.key: entry.owner for entry in store.jobs()}
    assert owners == {key: f"driver {n}" for n, keys in enumerate(got) for key in keys}


def test_a_store_is_made_and_a_design_added_by_several_at_once(where: str, tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(store_jobs.__file__).parent)!r})
from store_jobs import make_job, open_store
print("ready", flush=True)
sys.stdin.readline()
print(open_store({where!r}, runs={str(tmp_path)!r}).add(make_job(n) for n in range(50)))
"""
    drivers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for driver in drivers:
        assert driver.stdout.readline() == "ready\n"
    for driver in drivers:
        driver.stdin.write("go\n")
        driver.stdin.flush()
    assert sum(int(driver.communicate(timeout=120)[0]) for driver in drivers) == 50
    store = open_store(where, create=False)
    assert [entry.job for entry in store.jobs()] == [make_job(n) for n in range(50)]


def test_killed_drivers_lose_no_recorded_run(where: str, store: Store) -> None:
    jobs = [make_job(number) for number in range(110)]
    store.add(jobs)
    command = [*PROGRAM, "die", where, str(store.runs), "15"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["struck"] > 4, said  # the kills struck runs that were claimed
    assert said["counts"]["done"] < 110, said  # and there were drivers left to kill all the time
    assert store.counts() == {"done": 110}
    assert {e.key: e.outcome.loss for e in store.jobs()} == {job.key: loss_of(job.key) for job in jobs}
    if "://" not in where:
        with closing(sqlite3.connect(where)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
