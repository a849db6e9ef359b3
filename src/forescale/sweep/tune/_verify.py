"""Runs of the target itself: the predicted one, and more around it that show how close it came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.sweep._job import Job
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
    if entry.state not in ("done", "diverged"):
        why = entry.outcome.problem if entry.outcome is not None else ""
        raise ForescaleError(f"the target's run {entry.state}: {why or 'no reason was given'}.")
    return entry


def verify(tuned: Tuned, trained: Entry, count: int, at_once: int, make: Make) -> Verified:
    """Spend `count` more runs of the target, `at_once` of them side by side, where they say most about its optimum."""
    tries, asked = [_try(trained)], 0
    while asked < count:
        jobs = _ask(tuned, tries, min(at_once, count - asked))
        asked += len(jobs)
        tries += [_try(entry) for entry in make(jobs, AROUND) if entry.state in ("done", "diverged")]
    best = _told(tuned, tries).best()
    return Verified(
        predicted=tries[0],
        others=tuple(tries[1:]),
        best=(best.learning_rate, best.batch_tokens),
        interval=(best.learning_rate_interval, best.batch_tokens_interval),
    )


def _told(tuned: Tuned, tries: Sequence[Try]) -> Search:
    from forescale.sweep.search import Search

    search = Search(tuned.target.workload, tuned.calibration)
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
