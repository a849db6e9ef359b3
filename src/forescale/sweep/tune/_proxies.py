"""The next proxies: what `suggest` says is worth most, as jobs of real shapes that fit the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Suggestion, suggest
from forescale.sweep._job import Job
from forescale.sweep.tune._target import LEAST_PARAMS, LEAST_STEPS, Target

if TYPE_CHECKING:
    from forescale.runs import Runs

TRIES = 6
ENOUGH = 0.97  # of the FLOPs left: nearer than this, asking again for a little less changes nothing


def next_proxies(target: Target, compute: float, runs: Runs | None, seeds: Sequence[int]) -> tuple[Job, ...]:
    """The jobs, within `compute` FLOPs, that lower the target's expected gap most; none where none lowers it.

    `suggest` counts 6 N D; what a job costs with attention and its output matrix is more, and most so for small ones.
    Raises `ForescaleError` where the budget does not buy the smallest sweep.
    """
    asked = compute * target.workload.compute / target.compute / len(seeds)
    for _ in range(TRIES):
        found = suggest(
            target.workload,
            asked,
            runs=runs,
            seq_len=int(target.workload.seq_len),
            least_params=LEAST_PARAMS,
            least_steps=LEAST_STEPS,
        )
        jobs = jobs_of(target, found, seeds)
        cost = sum(job.compute for job in jobs)
        if cost <= compute:
            return jobs
        asked *= min(compute / cost, ENOUGH)
    raise ForescaleError(
        f"a budget of {compute:.3g} FLOPs buys no sweep for this target ({compute / target.compute:.2%} of its compute): "
        "raise --budget."
    )


def jobs_of(target: Target, suggestion: Suggestion, seeds: Sequence[int]) -> tuple[Job, ...]:
    """A suggestion's runs, each once a seed; those that round to the same run are one."""
    jobs = [
        target.job(
            target.proxy(run.params, run.tokens),
            learning_rate=run.learning_rate,
            batch_tokens=run.batch_tokens,
            seed=seed,
        )
        for run in suggestion.runs
        for seed in seeds
    ]
    return tuple({job.key: job for job in jobs}.values())
