"""The conclusions of Power Lines on time and compute (facts/timescale-schedule-parametrization.md 1.5), by our laws."""

from __future__ import annotations

from math import exp, log

import pytest
from scipy.optimize import minimize_scalar

from forescale.laws import law
from forescale.plan.frontier import Cluster, Frontier, Goal, make_frontier

LOSS = 2.6  # the paper's target; its loss law and its time model are not in our sources
PAPER = 20.6  # tokens per parameter that its fitted law makes FLOP-optimal there


def cheapest_ratio(name: str) -> float:
    """D / N of least 6 N D at the loss, batch left out; a line search on the law's formula."""
    c = law(name).formula("loss").constants

    def log_tokens(log_params: float) -> float:
        rest = LOSS - c["E"] - c["A"] * exp(-c["alpha"] * log_params)
        return (log(c["B"]) - log(rest)) / c["beta"] if rest > 0 else 99.0

    best = minimize_scalar(lambda x: x + log_tokens(x), bounds=(log(2e8), log(1e10)), method="bounded")
    return exp(log_tokens(best.x) - best.x)


@pytest.fixture(scope="module", params=["zhang-refit", "power-lines"])
def serial(request: pytest.FixtureRequest) -> Frontier:
    return make_frontier(Goal(loss=LOSS, seq_len=2048, laws=(request.param,)))


def test_the_cheapest_run_has_about_twenty_tokens_per_parameter() -> None:
    # 20.6 by the paper's own fit on SlimPajama; by laws on Hoffmann et al.'s corpus 23 and 27.
    assert cheapest_ratio("epoch") == pytest.approx(PAPER, rel=0.15)
    assert cheapest_ratio("chinchilla") == pytest.approx(PAPER, rel=0.35)
    cheapest = make_frontier(Goal(loss=LOSS, seq_len=2048)).points[-1]
    assert cheapest.small_batch_tokens / cheapest.params == pytest.approx(cheapest_ratio("epoch"), rel=0.2)


def test_under_trained_models_are_dominated_in_time_and_compute(serial: Frontier) -> None:
    assert min(p.small_batch_tokens / p.params for p in serial.points) > 0.95 * cheapest_ratio("epoch")
    under = [other for other in serial.other_sizes if other.point.tokens_per_param < 20]
    assert len(under) >= 2
    assert all(other.dominated for other in under)
    for other in under:  # and by a point that is really there, not by the search's word
        assert any(p.seconds < other.point.seconds and p.compute < other.point.compute for p in serial.points)


def test_small_over_trained_models_lie_on_the_frontier(serial: Frontier) -> None:
    fastest, cheapest = serial.points[0], serial.points[-1]
    assert fastest.params < cheapest.params / 1.5
    assert fastest.small_batch_tokens / fastest.params > 2 * cheapest.small_batch_tokens / cheapest.params
    # Because each of their steps is faster and their critical batch larger.
    assert fastest.seconds / fastest.steps < cheapest.seconds / cheapest.steps
    assert fastest.critical_batch_tokens > cheapest.critical_batch_tokens


def test_steps_as_the_only_time_give_another_frontier() -> None:
    # Section 1.5: visibly different. Large, under-trained models are the fastest, and equal weight is near 20, counting the
    # tokens that the batch wastes (half of them).
    by_steps = make_frontier(Goal(loss=LOSS, seq_len=2048), Cluster(seconds_per_step=1.0))
    assert by_steps.points[0].params > 3 * by_steps.points[-1].params
    assert by_steps.points[0].tokens_per_param < 10
    assert by_steps.chosen.tokens_per_param == pytest.approx(20, rel=0.2)


def test_equal_weight_on_unlimited_devices_is_not_near_twenty(serial: Frontier) -> None:
    # With a step as long as the model is large, and B_crit growing as D^e, the optimum moves to N^2 D^(2 - e): more tokens.
    assert serial.chosen.small_batch_tokens / serial.chosen.params > 2 * PAPER


def test_equal_weight_on_few_devices_is_near_twenty() -> None:
    # Time is then compute, and the choice the cheapest run but for its batch.
    chosen = make_frontier(Goal(loss=LOSS, seq_len=2048), Cluster(devices=64)).chosen
    assert chosen.small_batch_tokens / chosen.params == pytest.approx(cheapest_ratio("epoch"), rel=0.2)
