"""The next proxies: what `suggest` says is worth most, as jobs of real shapes that fit the budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.fit.calibrate import SuggestedCell, Suggestion, suggest
from forescale.sweep._job import Job
from forescale.sweep.tune._target import LEAST_PARAMS, LEAST_STEPS, Target

if TYPE_CHECKING:
    from forescale.runs import Runs

TRIES = 6
ENOUGH = 0.97  # of the FLOPs left: nearer than this, asking again for a little less changes nothing


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """Proxies to run, a tuple a cell, those first that help most for their compute; and the suggestion they come from."""

    cells: tuple[tuple[Job, ...], ...]
    suggestion: Suggestion

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All of them, each once: settings of a cell may round to the same run."""
        return tuple({job.key: job for cell in self.cells for job in cell}.values())

    @property
    def compute(self) -> float:
        """FLOPs, attention and output matrices included."""
        return sum(job.compute for job in self.jobs)

    def first(self, compute: float) -> Proposed:
        """The first cells, until they take `compute` FLOPs or more: what they show decides about the others."""
        for count in range(1, len(self.cells)):
            part = replace(self, cells=self.cells[:count])
            if part.compute >= compute:
                return part
        return self


def next_proxies(target: Target, compute: float, runs: Runs | None, seeds: Sequence[int]) -> Proposed:
    """The proxies, within `compute` FLOPs, that lower the target's expected gap most; none where none lowers it.

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
        proposed = Proposed(cells=cells_of(target, found, seeds), suggestion=found)
        if proposed.compute <= compute:
            return proposed
        asked = found.compute * min(compute / proposed.compute, ENOUGH)  # so that this set is out of reach
    raise ForescaleError(
        f"a budget of {compute:.3g} FLOPs buys no sweep for this target ({compute / target.compute:.2%} of its compute): "
        "raise --budget."
    )


def cells_of(target: Target, suggestion: Suggestion, seeds: Sequence[int]) -> tuple[tuple[Job, ...], ...]:
    """The jobs of a suggestion's cells, each setting once a seed."""
    return tuple(tuple(_jobs_of(target, cell, seeds)) for cell in suggestion.cells)


def _jobs_of(target: Target, cell: SuggestedCell, seeds: Sequence[int]) -> Iterator[Job]:
    for run in cell.runs:
        for seed in seeds:
            yield target.job(
                target.proxy(run.params, run.tokens),
                learning_rate=run.learning_rate,
                batch_tokens=run.batch_tokens,
                seed=seed,
            )
