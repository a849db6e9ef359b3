"""A run as its store knows it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from forescale.sweep._job import Job, Outcome, State, job_from_json


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run of a store. Times are UTC seconds of the database's clock, None where it has not come to that."""

    key: str
    job: Job
    state: State
    outcome: Outcome | None  # of a run that has ended, or of one that was lost with a reason
    owner: str  # the driver that claimed it last; empty: none
    attempts: int  # how often it was claimed since it was planned, or asked for again
    design: str  # the name of the design that it was added with
    created: float
    started: float | None
    beat: float | None  # when its owner was last heard of
    ended: float | None


def entry_of(row: Any) -> Entry:
    """A row of the table of runs."""
    outcome = None if row.outcome is None else Outcome(**json.loads(row.outcome))
    names = ("key", "state", "owner", "attempts", "design", "created", "started", "beat", "ended")
    return Entry(job=job_of(row.job), outcome=outcome, **{name: getattr(row, name) for name in names})


def job_text(job: Job) -> str:
    """A job as the store keeps it."""
    return json.dumps(job.to_json())


def job_of(text: str) -> Job:
    """What `job_text` made."""
    return job_from_json(json.loads(text))


def outcome_text(outcome: Outcome) -> str:
    """An outcome as the store keeps it."""
    return json.dumps(asdict(outcome))
