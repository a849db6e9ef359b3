"""Rounds of proxies, until the expected gap or the budget is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Calibration, calibrate
from forescale.sweep._job import MEASURED, Job
from forescale.sweep.design import speed_here, speed_of_runs
from forescale.sweep.tune._budget import Budget
from forescale.sweep.tune._proxies import Proposed, next_proxies
from forescale.sweep.tune._target import Target

if TYPE_CHECKING:
    import polars

    from forescale.runs import Runs
    from forescale.sweep.engines import Engine
    from forescale.sweep.store import Entry, Store

ROUND = "round {}"  # the design's name in the store
WAITING = 2.0  # how many times the gap that the whole budget would leave may be left by half of it, for another look
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A target, what may be spent on it, and what runs and keeps the proxies."""

    target: Target
    budget: Budget
    store: Store
    engine: Engine
    at_once: int  # runs side by side
    seeds: tuple[int, ...]
    goal: float
    say: Say

    def make(self, jobs: Sequence[Job], design: str) -> list[Entry]:
        """Run the jobs that have not been; all of them, ended."""
        self.store.add(jobs, design=design)
        self.drive()
        return [self.store.entry(job.key) for job in jobs]

    def drive(self) -> None:
        """Run everything in the store that has not been."""
        from forescale.sweep.engines import drive

        drive(self.store, self.engine)


def run_rounds(tuning: Tuning, most: int) -> str:
    """Make rounds of proxies until it is time to stop; why it was."""
    if any(entry.state not in MEASURED for each in rounds_of(tuning.store) for entry in each):
        tuning.drive()
    allowed = allowed_compute(tuning)
    while True:
        done = rounds_of(tuning.store)
        runs = proxy_runs(done)
        if done and runs is None:
            raise ForescaleError(_none_measured(done[-1]))
        gap = calibrated(tuning.target, runs).after.loss_gap
        if done and gap <= tuning.goal:
            return f"the expected loss gap, {gap:.2%}, is below the goal of {tuning.goal:.2%}"
        if len(done) >= most:
            return f"the {most} rounds are over"
        left = allowed - sum(entry.job.compute for each in done for entry in each)
        jobs = _next(tuning, left, most - len(done), runs, first=not done)
        if not jobs:
            return "no sweep of proxies fits the budget that is left" if done else "no proxy lowers the expected gap"
        if {job.key for job in jobs} <= {entry.key for each in done for entry in each}:
            return "the proxies that would help most have been run"
        design, cost = ROUND.format(len(done) + 1), sum(job.compute for job in jobs) / tuning.target.compute
        tuning.say(f"{design}: {len(jobs)} proxies, {cost:.2%} of the target's compute; expected gap so far {gap:.2%}")
        tuning.make(jobs, design)


def _next(tuning: Tuning, left: float, rounds: int, runs: Runs | None, *, first: bool) -> tuple[Job, ...]:
    """The first part of what is best for half of what is left, since what it shows moves the rest.

    For all of it where no round follows, or where half buys nothing, or so little that another look is not worth it.
    """
    parts = [part for part in ((left / 2, left) if rounds > 1 else (left,)) if part > 0]
    found: list[tuple[float, Proposed]] = []
    for part in parts:
        try:
            found.append((part, next_proxies(tuning.target, part, runs, tuning.seeds)))
        except ForescaleError:
            if part == left and first and not found:
                raise
    if not found:
        return ()
    least = min(proposed.suggestion.after.loss_gap for _, proposed in found)
    part, proposed = next(each for each in found if each[1].suggestion.after.loss_gap <= WAITING * least)
    return proposed.first(part / rounds).jobs


def rounds_of(store: Store) -> list[list[Entry]]:
    """The entries of every round so far."""
    found: dict[str, list[Entry]] = {}
    for entry in store.jobs():
        if entry.design.startswith(ROUND.format("")):
            found.setdefault(entry.design, []).append(entry)
    return list(found.values())


def proxy_runs(rounds: Sequence[Sequence[Entry]]) -> Runs | None:
    """The proxies of these rounds that were measured, a setting's seeds as one run; None where none has a loss."""
    from forescale.runs import read_runs
    from forescale.sweep.store._table import table_of

    entries = [entry for each in rounds for entry in each if entry.state in MEASURED]
    if not any(entry.state == "done" for entry in entries):
        return None
    found = read_runs(mean_over_seeds(table_of(entries)))
    return replace(found, source=f"{len(entries)} proxies")


def mean_over_seeds(table: polars.DataFrame) -> polars.DataFrame:
    """One row a setting with the mean of its losses: infinite where a seed diverged."""
    import polars as pl

    setting = ["params", "active_params", "tokens", "seq_len", "learning_rate", "batch_tokens", "weight_decay"]
    losses = pl.col("loss").mean()
    return table.group_by(setting, maintain_order=True).agg(losses, pl.col("steps").first(), seeds=pl.len())


def calibrated(target: Target, runs: Runs | None) -> Calibration:
    """The published prior after the proxies, for the target."""
    return calibrate(runs, target=target.workload, scored=False)


def allowed_compute(tuning: Tuning) -> float:
    """The budget in FLOPs."""
    return tuning.budget.flops(tuning.target.compute, lambda: speed_of(tuning) or _speed_here(tuning))


def speed_of(tuning: Tuning) -> float | None:
    """FLOPs a second over all workers, as the proxies so far were; None before there are any."""
    found = speed_of_runs([entry for each in rounds_of(tuning.store) for entry in each], tuning.at_once)
    return None if found is None else found.flops_per_second


def _speed_here(tuning: Tuning) -> float:
    """The same as a few steps of the target take here now."""
    found = speed_here([tuning.target.job()], tuning.at_once)
    assert found is not None  # proxies are trained by torch, so it is there
    return found.flops_per_second


def _none_measured(entries: Sequence[Entry]) -> str:
    problems = [entry.outcome.problem for entry in entries if entry.outcome is not None and entry.outcome.problem]
    why = problems[0] if problems else "all of them diverged"
    return f"no proxy ended with a loss, so there is nothing to calibrate on; {why} (see `forescale runs ls`)"
