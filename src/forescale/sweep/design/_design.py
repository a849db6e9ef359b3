"""A design: the runs of a sweep as jobs, made from settings, each of which is the values of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forescale.errors import ForescaleError
from forescale.sweep._job import Job
from forescale.sweep.command._command import SAME
from forescale.sweep.design._common import RECIPE, TRAINER, Common
from forescale.sweep.design._make import make_job

MOST_RUNS = 10_000
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Design:
    """Runs to make, in the order in which they start, and what to know of them. No two have the same key."""

    name: str
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()

    @property
    def compute(self) -> float:
        """FLOPs of all runs."""
        return sum(job.compute for job in self.jobs)


def make_design(
    common: Common, settings: Sequence[Settings], *, name: str, seeds: Sequence[int] = (), notes: Iterable[str] = ()
) -> Design:
    """The design whose runs have the values of `settings` on top of what is common, each once a seed.

    Settings that round to the same run (whole sequences, whole steps, real shapes) make one run, and a note says how many.
    Raises `ForescaleError` for settings that no run can have, or none at all.
    """
    if seeds and ("seed" in common.values or any("seed" in each for each in settings)):
        raise ForescaleError("seed and seeds say the same: give one of them.")
    every = [{**each, "seed": seed} for each in settings for seed in seeds] if seeds else list(settings)
    if not every:
        raise ForescaleError("a design must have a run; this one has none: widen it.")
    if len(every) > MOST_RUNS:
        raise ForescaleError(
            f"a design has at most {MOST_RUNS:,} runs; this one has {len(every):,}: take fewer values."
        )
    swept = sorted(_swept(every))
    made = {job.key: job for job in (make_job(common, each, swept=swept) for each in every)}
    return Design(
        name=name, jobs=tuple(made.values()), notes=tuple(_notes(common, len(every), list(made.values()), notes))
    )


def _swept(every: Sequence[Settings]) -> Iterator[str]:
    """The names in which the settings differ."""
    for name in dict.fromkeys(name for each in every for name in each):
        if any(each.get(name) != every[0].get(name) for each in every):
            yield name


def _notes(common: Common, asked: int, jobs: Sequence[Job], notes: Iterable[str]) -> Iterator[str]:
    yield from notes
    if len(jobs) < asked:
        yield f"{asked} settings round to {len(jobs)} different runs (whole sequences, whole steps, real shapes)"
    if common.command is None:
        if "eval_tokens" not in common.values:
            tokens = " and ".join(f"{n:,}" for n in sorted({int(job.settings["eval_tokens"]) for job in jobs}))
            yield f"losses are measured on {tokens} held-out tokens (eval_tokens sets another number)"
        return
    uses = common.command.fields
    unused = [
        name
        for name in (*RECIPE, *TRAINER, "seed")
        if name in common.values and uses.isdisjoint((name, *SAME.get(name, ())))
    ]
    if unused:
        yield f"{', '.join(unused)} is not in the command: taken as what its trainer does of itself"
