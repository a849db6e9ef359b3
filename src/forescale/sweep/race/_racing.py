"""The race of a sweep: what the driver asks now and then, and what was won and lost by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.sweep._job import Job
from forescale.sweep.race._curve import Curve, cells, curve_of
from forescale.sweep.race._decide import Race, decide, finishers
from forescale.sweep.race._forecast import BINS, End, forecast

if TYPE_CHECKING:
    from forescale.sweep.store import Entry, Store


class Racing:
    """Called with a store and its running runs: the keys of those to end, and why. It remembers the curves it has read.

    A run of a row that does not say what its learning rate will be is left alone, and so is one without metrics.
    """

    def __init__(self, race: Race | None = None) -> None:
        self.race = race or Race()
        self._finished: dict[str, Curve] = {}
        self._asked: dict[str, tuple[int, int]] = {}  # finished runs of its cell, and its own bins, at the last look

    def __call__(self, store: Store, running: Sequence[Entry]) -> Mapping[str, str]:
        finished = {entry.key: entry for entry in store.jobs(("done",))}
        keys = {entry.key for entry in running}
        ended: dict[str, str] = {}
        for cell in cells([entry.job for entry in (*finished.values(), *running)]):
            moving, done = ([job for job in cell if (job.key in keys) is wanted] for wanted in (True, False))
            if self._moved(store, moving, len(done)):
                known = [c for job in done if (c := self._done(store, finished[job.key])) is not None]
                ended |= decide([*known, *(c for job in moving if (c := _read(store, job)) is not None)], self.race)
        return ended

    def _moved(self, store: Store, moving: Sequence[Job], done: int) -> bool:
        """Whether a run has come further by a bin, or another has finished, since the last look; else nothing is new."""
        now = {job.key: (done, int(_so_far(store, job) * BINS)) for job in moving}
        moved = any(self._asked.get(key) != state for key, state in now.items())
        self._asked |= now
        return moved

    def _done(self, store: Store, entry: Entry) -> Curve | None:
        end = _end(entry)
        if entry.key not in self._finished and end is not None and (curve := _read(store, entry.job, end)) is not None:
            self._finished[entry.key] = curve
        return self._finished.get(entry.key)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What racing came to: what was saved, and what may have been missed."""

    runs: int  # that have ended, failed ones aside
    stopped: int
    diverged: int
    compute: float  # FLOPs that all of them would have taken to their ends
    saved: float  # share of it that was not spent
    regret: float  # expected loss gap between the best run that finished and the best of all, at most
    ends: Mapping[str, End] = field(default_factory=dict[str, End])  # where the stopped runs would have ended

    @property
    def sentence(self) -> str:
        """The same in words."""
        cut = f"{self.stopped} stopped early and {self.diverged} diverged of {self.runs} runs"
        return (
            f"racing: {cut}, {self.saved:.0%} of the compute saved; expected loss gap by it at most {self.regret:.2%}"
        )


def report(store: Store, race: Race | None = None) -> Report:
    """The saving and the regret of the runs of a store that have ended.

    The stopped runs' ends are forecast anew, by all runs that have finished since. The regret is that of the cell where
    it is largest: the sum over its stopped runs of the expected gap by which each would have ended below the best.
    """
    entries = store.jobs(("done", "stopped", "diverged"))
    ends, regrets = _ends(store, entries, race or Race())
    states = [entry.state for entry in entries]
    compute = sum(entry.job.compute for entry in entries)
    left = sum(entry.job.compute * (1 - _share(entry)) for entry in entries if entry.state != "done")
    return Report(
        runs=len(entries),
        stopped=states.count("stopped"),
        diverged=states.count("diverged"),
        compute=compute,
        saved=left / compute if compute else 0.0,
        regret=max(regrets, default=0.0),
        ends=ends,
    )


def missed(end: End, best: float) -> float:
    """The expected loss gap by which a run would have ended below the loss `best`: that of a Student t, in ln loss."""
    from scipy.special import stdtr
    from scipy.stats import t

    ahead = math.log(best / end.loss)
    if end.scale == 0:
        return max(ahead, 0.0)
    z, freedom = ahead / end.scale, end.freedom
    density = float(t.pdf(z, freedom))
    return end.scale * (z * float(stdtr(freedom, z)) + (freedom + z * z) / (freedom - 1) * density)


def _ends(store: Store, entries: Sequence[Entry], race: Race) -> tuple[dict[str, End], list[float]]:
    known = {entry.key: entry for entry in entries}
    ends: dict[str, End] = {}
    regrets: list[float] = []
    for cell in cells([entry.job for entry in entries]):
        curves = [c for job in cell if (c := _read(store, job, _end(known[job.key]))) is not None]
        done = finishers(curves, race)
        cut = [curve for curve in curves if known[curve.key].state == "stopped"]
        if done and cut:
            ahead = forecast([*done, *cut])
            made = {curve.key: ahead.end(curve.key) for curve in cut}
            regrets.append(sum(missed(end, min(c.end for c in done if c.end)) for end in made.values()))
            ends |= made
    return ends, regrets


def _so_far(store: Store, job: Job) -> float:
    """The share of a run that its newest record has reached."""
    newest, row = store.latest(job.key) or {}, job.row
    if row.get("tokens") and "tokens" in newest:
        return float(newest["tokens"]) / float(row["tokens"])
    return float(newest.get("step") or 0) / float(row.get("steps") or math.inf)


def _read(store: Store, job: Job, end: float | None = None) -> Curve | None:
    try:
        curve = curve_of(job, store.metrics(job.key), end)
    except ForescaleError:
        return None
    return curve if len(curve.progress) else None


def _end(entry: Entry) -> float | None:
    """The loss of a run that was made to its end."""
    if entry.state != "done" or entry.outcome is None or not math.isfinite(entry.outcome.loss):
        return None
    return entry.outcome.loss


def _share(entry: Entry) -> float:
    """How much of a run was made, by the tokens that it has seen."""
    row: Mapping[str, Any] = entry.outcome.row if entry.outcome else {}
    planned = row.get("planned_tokens") or entry.job.row.get("tokens")
    return min(float(row.get("tokens") or 0) / float(planned), 1.0) if planned else 0.0
