"""How fast runs are made: as those that have finished were, or as a few steps take here now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from forescale.sweep._job import Job, config_of

if TYPE_CHECKING:
    from forescale.sweep.store import Entry

PROBES = 3  # runs of a design that are timed
LONGEST = 1.0  # seconds of a step that is still timed; about five are made


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast runs are made, all workers together: FLOPs a second, and where the number is from.

    `timed` are runs that were: parameters and FLOPs a second; a run goes as the one that is nearest in size.
    """

    flops_per_second: float
    source: str
    timed: tuple[tuple[float, float], ...] = ()

    def seconds(self, job: Job) -> float:
        """How long the run takes of all workers' time."""
        size = _size(job)
        nearest = min(self.timed, key=lambda run: abs(math.log(run[0] / size)), default=(size, self.flops_per_second))
        return job.compute / nearest[1]


def speed_of_runs(entries: Iterable[Entry], at_once: int) -> Speed | None:
    """The speed of finished runs, `at_once` of them side by side; None where none has finished."""
    done = [(e.job, e.outcome.row) for e in entries if e.state == "done" and e.outcome is not None]
    timed = [(job, float(row["seconds"])) for job, row in done if row.get("seconds")]
    if not timed:
        return None
    return Speed(
        flops_per_second=at_once * sum(job.compute for job, _ in timed) / sum(seconds for _, seconds in timed),
        source="the run that has finished" if len(timed) == 1 else f"the {len(timed)} runs that have finished",
        timed=tuple((_size(job), at_once * job.compute / seconds) for job, seconds in timed),
    )


def speed_here(jobs: Sequence[Job], at_once: int, threads: int = 1, device: str = "auto") -> Speed | None:
    """The speed of a few steps of the smallest to the largest of our trainer's jobs, timed here now; None without torch.

    Where a step takes longer than a second, and for another's trainer, it is 40 % of the best matrix product.
    """
    try:
        from forescale.train._distributed import device_of
        from forescale.train._peak import USUAL_SHARE, matmul_peak
    except ModuleNotFoundError:
        return None
    place = device_of(device)
    peak = matmul_peak(place, "fp32" if place.type == "cpu" else "bf16")
    cores = at_once * (threads if place.type == "cpu" else 1)
    timed = tuple((_size(job), cores * _rate(job, device)) for job in _probes(jobs, USUAL_SHARE * peak))
    if timed:
        middle = timed[len(timed) // 2][1]
        return Speed(flops_per_second=middle, source=f"steps of {len(timed)} of the runs, timed here now", timed=timed)
    source = f"{USUAL_SHARE:.0%} of the best matrix product here now, {peak:.3g} FLOP/s, times {cores}"
    return Speed(flops_per_second=USUAL_SHARE * peak * cores, source=source)


def _probes(jobs: Sequence[Job], usual: float) -> Iterator[Job]:
    """Runs from the smallest to the largest whose steps are short enough to time."""
    steps = {_size(job): job for job in jobs if job.trainer == "forescale"}
    sizes = sorted(size for size, job in steps.items() if job.compute / float(job.row["steps"]) < LONGEST * usual)
    count = min(PROBES, len(sizes))
    yield from (steps[sizes[round(i * (len(sizes) - 1) / max(count - 1, 1))]] for i in range(count))


def _rate(job: Job, device: str) -> float:
    """FLOPs a second of one run on one thread, or on the accelerator."""
    from forescale.train.population import costs

    config = config_of(job)
    cost = costs(replace(config, device=device if config.device == "auto" else config.device), most=1)[0]
    return job.compute / config.steps / cost.seconds


def _size(job: Job) -> float:
    return float(job.row.get("params") or 1.0)
