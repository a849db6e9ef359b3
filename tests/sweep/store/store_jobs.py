"""Jobs that no trainer would know, and drivers as processes of their own that claim and record them.

As a program: `claim` prints the keys that it gets when it is told to go; `die` is a sweep whose drivers are killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import Any

from forescale.sweep import Job, Outcome
from forescale.sweep.store import Store, open_store


def make_job(number: int, **more: Any) -> Job:
    """A job that no trainer would know; its key depends on the number alone."""
    row = {"params": 1e6, "tokens": 2e7, "seq_len": 128, "batch_tokens": 8192, "learning_rate": 1e-3 * (1 + number)}
    return Job(trainer="command", settings={"number": number}, row=row, compute=1.2e14, **more)


def loss_of(key: str) -> float:
    return 2 + int(key, 16) / 16**12


def drive(store: Store, owner: str, told: int | None = None) -> None:
    """Claim and record until nothing is left; `told` hears of each run after it was recorded."""
    while jobs := store.claim(owner, 2):
        for job in jobs:
            store.record(job.key, Outcome(state="done", loss=loss_of(job.key)), owner)
            if told is not None:
                os.write(told, f"{job.key}\n".encode())


def claim(store: Store, owner: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    keys: list[str] = []
    while jobs := store.claim(owner, 3):
        keys += [job.key for job in jobs]
    print(json.dumps(keys))


def die(store: Store, kills: int) -> None:
    """Kill one driver after another, each somewhere after its first few runs, then let the last one end."""
    chance = random.Random(0)
    heard: list[str] = []
    for number in range(kills):
        reader, told = os.pipe()
        child = os.fork()
        if child == 0:
            drive(store, f"driver {number}", told)
            os._exit(0)
        os.close(told)
        with os.fdopen(reader) as lines:
            heard += [lines.readline() for _ in range(chance.randint(1, 5))]
            time.sleep(chance.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            heard += lines.readlines()
        done = {entry.key for entry in store.jobs(["done"])}
        assert {line.strip() for line in heard} <= done, "a run that was recorded is lost"
        store.lose_silent(0.0)
    print(json.dumps({"counts": store.counts(), "struck": sum(e.attempts > 1 for e in store.jobs())}))
    drive(store, "the last")


if __name__ == "__main__":
    action, where, folders, *more = sys.argv[1:]
    opened = open_store(where, runs=folders)
    claim(opened, more[0]) if action == "claim" else die(opened, int(more[0]))
