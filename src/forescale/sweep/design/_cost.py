"""What a design will cost before anything starts: FLOPs, hours and money; and whether a budget holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import humanize, humanize_duration
from forescale.sweep._job import Job
from forescale.sweep.design._speed import Speed


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sweep may cost, and by what its cost is counted; None: no limit, or not known."""

    flops: float | None = None
    seconds: float | None = None  # from beginning to end
    money: float | None = None
    price_per_hour: float | None = None  # of one device
    devices: int = 1
    flops_per_second: float | None = None  # all workers together, instead of a measurement

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not 0 < value < math.inf:
                raise ForescaleError(f"{each.name} of a budget must be finite and above 0; got {value!r}: correct it.")
        if self.money is not None and self.price_per_hour is None:
            raise ForescaleError("a budget in money needs the price of a device for an hour: give price_per_hour.")

    @property
    def needs_speed(self) -> bool:
        """Whether it can be kept only where the speed is known."""
        return self.seconds is not None or self.money is not None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What runs will cost together; seconds from beginning to end, money in the currency of the price; None: not known."""

    runs: int
    compute: float  # FLOPs
    seconds: float | None
    money: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def cost_of(jobs: Sequence[Job], speed: Speed | None, budget: Budget) -> Cost:
    """The cost of the runs, as the budget counts it."""
    seconds = None if speed is None else sum(speed.seconds(job) for job in jobs)
    price = budget.price_per_hour
    money = None if seconds is None or price is None else seconds / 3600 * budget.devices * price
    return Cost(runs=len(jobs), compute=sum(job.compute for job in jobs), seconds=seconds, money=money)


def over_budget(jobs: Sequence[Job], speed: Speed | None, budget: Budget) -> str:
    """Why the runs do not fit, and what to leave out; '' where they do.

    Raises `ForescaleError` for a budget that does not hold the cheapest run, or that cannot be counted.
    """
    if budget.needs_speed and speed is None:
        raise ForescaleError(
            "a budget in time or money needs the speed, which is measured with torch: pip install 'forescale[train]', or give "
            "flops_per_second."
        )
    kept = sorted(jobs, key=lambda job: job.compute)
    if not kept or not (why := _excess(cost_of(kept, speed, budget), budget)):
        return ""
    if one := _excess(cost_of(kept[:1], speed, budget), budget):
        raise ForescaleError(
            f"the budget does not hold one run: the cheapest takes {one}: raise it, or plan smaller runs."
        )
    while _excess(cost_of(kept, speed, budget), budget):
        kept.pop()
    left_out = len(jobs) - len(kept)
    dearest = sorted(jobs, key=lambda job: job.compute)[len(kept)]
    return (
        f"the design takes {why}: leave out the {left_out} dearest of its {len(jobs)} runs (from {_size(dearest)} on), or raise "
        "the budget."
    )


def _excess(cost: Cost, budget: Budget) -> str:
    """The first limit that the cost is over, in words."""
    if budget.flops is not None and cost.compute > budget.flops:
        return f"{cost.compute:.3g} FLOPs, of {budget.flops:.3g}"
    if budget.seconds is not None and cost.seconds is not None and cost.seconds > budget.seconds:
        return f"{humanize_duration(cost.seconds)}, of {humanize_duration(budget.seconds)}"
    if budget.money is not None and cost.money is not None and cost.money > budget.money:
        return f"{cost.money:.2f} in money, of {budget.money:.2f}"
    return ""


def _size(job: Job) -> str:
    sizes = [f"{humanize(job.row[name])} {name}" for name in ("params", "tokens") if name in job.row]
    return " and ".join(sizes) or f"{job.compute:.2g} FLOPs"
