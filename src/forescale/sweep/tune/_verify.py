"""Runs of the target itself: the predicted one, and more around it that show how close it came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.sweep._job import MEASURED, Job
from forescale.sweep.tune._target import LEAST_STEPS
from forescale.sweep.tune._tuned import Try, Tuned, Verified

if TYPE_CHECKING:
    from forescale.sweep.search import Search
    from forescale.sweep.store import Entry

Make = Callable[[Sequence[Job], str], "list[Entry]"]  # runs jobs under a design's name; those that ended, in order
TARGET, AROUND = "target", "around the target"


def train_target(tuned: Tuned, make: Make) -> Entry:
    """Train the target by the recipe. Raises `ForescaleError` where that failed."""
    from forescale.sweep._job import train_job

    (entry,) = make([train_job(tuned.run.config)], TARGET)
    if entry.state not in MEASURED:
        why = entry.outcome.problem if entry.outcome is not None else ""
        raise ForescaleError(f"the target's run {entry.state}: {why or 'no reason was given'}.")
    return entry


def verify(tuned: Tuned, trained: Entry, count: int, at_once: int, make: Make) -> Verified:
    """Spend `count` more runs of the target: one by the published law, the others where they say most about its optimum.

    `at_once` run side by side.
    """
    target, seed = tuned.target, trained.job.row["seed"]
    law = target.job(seed=seed)  # the plan without any run
    tries, asked, published = [_try(trained)], 0, None
    while asked < count:
        jobs = [law] if not asked else []
        jobs += _ask(tuned, tries, min(at_once, count - asked) - len(jobs))
        asked += len(jobs)
        for entry in make(jobs, AROUND):
            if entry.state in MEASURED and entry.key != trained.key:
                tries.append(_try(entry))
                published = tries[-1] if entry.key == law.key else published
    best = _told(tuned, tries).best()
    return Verified(
        predicted=tries[0],
        others=tuple(tries[1:]),
        published=published,
        best=(best.learning_rate, best.batch_tokens),
        interval=(best.learning_rate_interval, best.batch_tokens_interval),
    )


def _told(tuned: Tuned, tries: Sequence[Try]) -> Search:
    from forescale.sweep.search import Search

    workload = tuned.target.workload
    batches = (workload.seq_len, max(workload.seq_len, workload.tokens / LEAST_STEPS))
    search = Search(workload, tuned.calibration, box={"batch_tokens": batches})
    for each in tries:
        search.tell((each.learning_rate, each.batch_tokens), each.loss)
    return search


def _ask(tuned: Tuned, tries: Sequence[Try], count: int) -> list[Job]:
    search, seed = _told(tuned, tries), tries[0].seed
    settings = [search.ask() for _ in range(count)]
    return [tuned.target.job(learning_rate=s.learning_rate, batch_tokens=s.batch_tokens, seed=seed) for s in settings]


def _try(entry: Entry) -> Try:
    row, outcome = entry.job.row, entry.outcome
    assert outcome is not None
    loss = math.inf if entry.state == "diverged" else outcome.loss
    return Try(learning_rate=row["learning_rate"], batch_tokens=row["batch_tokens"], loss=loss, seed=row["seed"])
