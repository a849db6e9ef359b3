"""What a design costs before it starts, and budgets that hold it or not."""

from __future__ import annotations

from typing import Any

import pytest

from forescale.errors import ForescaleError
from forescale.sweep import Job, Outcome
from forescale.sweep.design import Budget, Common, Speed, cost_of, make_job, over_budget, speed_here, speed_of_runs
from forescale.sweep.store import Entry


def job(params: float, compute: float) -> Job:
    return Job(trainer="command", settings={"n": params}, row={"params": params, "tokens": 2e6}, compute=compute)


JOBS = [job(1e6, 1e12), job(2e6, 3e12), job(4e6, 8e12)]
SPEED = Speed(flops_per_second=1e10, source="given")


def entry(of: Job, seconds: float, state: Any = "done") -> Entry:
    outcome = Outcome(state=state, loss=2.0, row={"seconds": seconds})
    times: dict[str, Any] = {"created": 0.0, "started": None, "beat": None, "ended": None}
    return Entry(key=of.key, job=of, state=state, outcome=outcome, owner="", attempts=1, design="", **times)


def test_hours_and_money() -> None:
    cost = cost_of(JOBS, SPEED, Budget(price_per_hour=3.0, devices=2))
    assert (cost.runs, cost.compute, cost.seconds) == (3, 12e12, 1200.0)
    assert cost.money == pytest.approx(1200 / 3600 * 2 * 3.0)
    assert cost_of(JOBS, None, Budget()).seconds is None
    assert cost_of(JOBS, SPEED, Budget()).money is None


def test_the_speed_of_finished_runs_is_that_of_the_nearest_size() -> None:
    entries = [entry(JOBS[0], 100.0), entry(JOBS[2], 200.0), entry(JOBS[1], 1.0, "failed")]
    speed = speed_of_runs(entries, at_once=2)
    assert speed is not None
    assert speed.flops_per_second == pytest.approx(2 * 9e12 / 300)
    assert speed.seconds(job(1.1e6, 1e12)) == pytest.approx(50.0)  # two at once
    assert speed.seconds(job(9e6, 8e12)) == pytest.approx(100.0)
    assert speed_of_runs(entries[2:], at_once=1) is None


def test_steps_of_the_runs_themselves_are_timed() -> None:
    small = make_job(Common(values={"params": 2e4, "tokens": 1e5, "seq_len": 32, "batch_tokens": 256.0}), {})
    one, two = speed_here([small], 1, device="cpu"), speed_here([small], 2, device="cpu")
    assert one is not None
    assert two is not None
    assert "steps of 1 of the runs" in one.source
    assert two.seconds(small) == pytest.approx(one.seconds(small) / 2)  # measured once, for two side by side
    assert 1e7 < one.flops_per_second < 1e12
    other = speed_here(JOBS, 1, device="cpu")
    assert other is not None
    assert "best matrix product" in other.source  # another's trainer cannot be timed


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (
            Budget(flops=5e12),
            r"the design takes 1.2e\+13 FLOPs, of 5e\+12: leave out the 1 dearest of its 3 runs \(from 4M params",
        ),
        (Budget(flops=3.9e12), ".*leave out the 2 dearest of its 3 runs .from 2M params and 2M tokens on"),
        (Budget(seconds=1000), "the design takes 20 min, of 16.7 min: leave out the 1 dearest"),
        (Budget(money=1.0, price_per_hour=12), "the design takes 4.00 in money, of 1.00: leave out the 2 dearest"),
    ],
)
def test_over_the_budget_it_says_what_to_leave_out(budget: Budget, says: str) -> None:
    import re

    assert re.match(says, over_budget(JOBS, SPEED, budget))


def test_within_the_budget_there_is_nothing_to_say() -> None:
    assert over_budget(JOBS, SPEED, Budget(flops=12e12, seconds=1200)) == ""
    assert over_budget([], None, Budget(flops=1.0)) == ""


@pytest.mark.parametrize("budget", [Budget(flops=1e11), Budget(seconds=99), Budget(money=0.01, price_per_hour=1.0)])
def test_a_budget_too_small_for_one_run(budget: Budget) -> None:
    with pytest.raises(ForescaleError, match="does not hold one run: the cheapest takes"):
        over_budget(JOBS, SPEED, budget)


def test_budgets_that_cannot_be_counted() -> None:
    with pytest.raises(ForescaleError, match="needs the speed, which is measured with torch"):
        over_budget(JOBS, None, Budget(seconds=10))
    with pytest.raises(ForescaleError, match="needs the price of a device"):
        Budget(money=1.0)
    with pytest.raises(ForescaleError, match="flops of a budget must be finite and above 0"):
        Budget(flops=-1.0)
