"""The frontier: Pareto properties, bounds, and agreement with direct optimisation by scipy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import exp, log

import pytest
from scipy.optimize import minimize, minimize_scalar

from forescale.errors import ForescaleError
from forescale.laws import law
from forescale.plan.frontier import Cluster, Frontier, Goal, Point, make_frontier

EPOCH = law("epoch").formula("loss").constants
CRITICAL = law("zhang-refit").formula("critical_batch_tokens")
C, E_CRIT = CRITICAL.constants["coefficient"], CRITICAL.exponents["tokens"]
SPEED = 989e12 * 0.4
MONTH = 30 * 86400.0

CASES = {
    "loss": (Goal(loss=2.6, seq_len=2048), Cluster()),
    "loss on devices": (Goal(loss=2.4), Cluster(devices=512, step_overhead=0.05)),
    "equal": (Goal(loss=2.4), Cluster()),
    "served": (Goal(loss=2.4, inference_tokens=1e12), Cluster(devices=256, price=2.0, watts=700.0)),
    "compute": (Goal(compute=1e21), Cluster()),
    "compute on devices": (Goal(compute=1e22), Cluster(devices=512, micro_batch=2)),
    "deadline": (Goal(deadline=MONTH), Cluster(devices=256, model_parallel=8)),
    "deadline and a budget": (Goal(deadline=MONTH, compute=1e22), Cluster(devices=256)),
    "per step": (Goal(loss=2.6), Cluster(seconds_per_step=1.0)),
    "fixed size": (Goal(compute=1e21, params=2e9), Cluster()),
    "fixed ratio": (Goal(loss=2.6, tokens_per_param=30.0), Cluster()),
    "repeated": (Goal(loss=2.6, unique_tokens=2e10), Cluster()),
    "kaplan": (Goal(loss=2.6, laws=("kaplan-loss", "critical_batch_tokens=kaplan")), Cluster(devices=1024)),
}


@cache
def frontier(name: str) -> Frontier:
    return make_frontier(*CASES[name])


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest) -> Frontier:
    return frontier(request.param)


def dominated(points: tuple[Point, ...], trade: tuple[str, str]) -> list[Point]:
    values = [tuple(getattr(p, key) for key in trade) for p in points]
    return [
        p
        for p, own in zip(points, values, strict=True)
        if any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in values)
    ]


def test_no_point_is_dominated(made: Frontier) -> None:
    assert dominated(made.points, made.trade) == []
    first, second = made.trade
    for a, b in pairwise(made.points):
        assert getattr(a, first) < getattr(b, first)
        assert getattr(a, second) > getattr(b, second)


def test_a_dominated_point_would_be_seen() -> None:
    points = frontier("loss").points
    worse = replace(points[3], seconds=points[3].seconds * 1.5, compute=points[3].compute * 1.01)
    assert dominated((*points, worse), ("seconds", "compute")) == [worse]


def test_the_arithmetic_of_a_point(made: Frontier) -> None:
    goal, cluster = made.problem.goal, made.problem.cluster
    for p in made.points:
        assert p.tokens == p.steps * p.batch_tokens
        assert p.batch_tokens == p.sequences * goal.seq_len
        assert p.compute == pytest.approx(6 * p.params * p.tokens, rel=1e-12)
        assert p.lifetime_compute == pytest.approx(p.compute + 2 * p.params * goal.served, rel=1e-12)
        assert p.seconds == pytest.approx(
            p.steps * cluster.step_seconds(p.params, p.sequences, goal.seq_len), rel=1e-12
        )
        assert p.tokens == pytest.approx(
            p.small_batch_tokens * (1 + p.batch_tokens / p.critical_batch_tokens), rel=1e-6
        )
        assert p.loss == pytest.approx(float(made.problem.world.loss(p.params, p.small_batch_tokens)), rel=1e-12)
        assert p.loss_low is not None
        assert p.loss_high is not None
        assert p.loss_low < p.loss < p.loss_high
        if p.devices is not None:
            assert p.sequences % (p.devices // cluster.model_parallel * cluster.micro_batch) == 0
            assert p.device_seconds == pytest.approx(p.devices * p.seconds)
            assert p.efficiency == pytest.approx(
                p.compute / (p.device_seconds * cluster.peak * cluster.utilisation), rel=1e-9
            )
        assert p.cost == (
            None if cluster.price is None else pytest.approx(p.devices * p.seconds / 3600 * cluster.price)
        )
        assert p.joules == (None if cluster.watts is None else pytest.approx(p.devices * p.seconds * cluster.watts))


def test_the_bounds_hold(made: Frontier) -> None:
    goal, cluster = made.problem.goal, made.problem.cluster
    for p in made.points:
        if goal.loss is not None:
            assert goal.loss * (1 - 0.002) < p.loss <= goal.loss * (1 + 1e-9)
        if goal.compute is not None:
            assert p.lifetime_compute <= goal.compute * (1 + 1e-8)
        if goal.deadline is not None:
            assert p.seconds <= goal.deadline * (1 + 1e-8)
        if goal.params is not None:
            assert p.params == pytest.approx(goal.params)
        if goal.tokens_per_param is not None:
            assert p.tokens_per_param == pytest.approx(goal.tokens_per_param, rel=1e-3)
        if cluster.devices is not None:
            assert p.devices is not None
            assert p.devices <= cluster.devices


def test_what_is_chosen_is_a_point(made: Frontier) -> None:
    document = made.to_json()
    assert made.chosen in made.points
    assert document["points"][document["chosen_index"]] == document["chosen"]
    assert 1 <= len(made.points) <= 18
    assert {"params", "tokens", "batch_tokens", "steps", "compute", "seconds", "loss"} <= set(document["chosen"])


# Second methods: a minimiser of scipy on the same laws, with continuous batches and steps.


def loss_of(N: float, D: float) -> float:
    return EPOCH["E"] + EPOCH["A"] / N ** EPOCH["alpha"] + EPOCH["B"] / D ** EPOCH["beta"]


def tokens_of(N: float, loss: float) -> float:
    rest = loss - EPOCH["E"] - EPOCH["A"] / N ** EPOCH["alpha"]
    return (EPOCH["B"] / rest) ** (1 / EPOCH["beta"]) if rest > 0 else 1e30


def critical_of(D: float) -> float:
    return C * D**E_CRIT


def run_of(N: float, D_min: float, B: float, seq_len: int) -> tuple[float, float]:
    """Compute and seconds on unlimited devices."""
    D = D_min * (1 + B / critical_of(D_min))
    return 6 * N * D, D / B * 6 * N * seq_len / SPEED


@pytest.mark.parametrize("weight", [0.3, 0.5, 0.7])
def test_the_choice_for_a_loss_is_that_of_scipy(weight: float) -> None:
    def objective(x: list[float]) -> float:
        N, B = exp(x[0]), exp(x[1])
        compute, seconds = run_of(N, tokens_of(N, 2.4), B, 4096)
        return weight * log(seconds) + (1 - weight) * log(compute)

    best = minimize(objective, [log(2e9), log(5e6)], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    chosen = make_frontier(Goal(loss=2.4, weight=weight)).chosen
    value = weight * log(chosen.seconds) + (1 - weight) * log(chosen.compute)
    assert value == pytest.approx(best.fun, abs=3e-4)  # whole sequences and steps cost a little
    assert [log(chosen.params), log(chosen.batch_tokens)] == pytest.approx(best.x, abs=0.05)


def test_at_equal_weight_the_batch_is_critical_and_tokens_are_twice_the_least() -> None:
    # (1 + B / B_crit) (1 + B_crit / B) is least at B = B_crit (McCandlish et al. 2018), where D = 2 D_min.
    chosen = frontier("equal").chosen
    assert chosen.batch_tokens == pytest.approx(chosen.critical_batch_tokens, rel=0.05)
    assert chosen.tokens == pytest.approx(2 * chosen.small_batch_tokens, rel=0.03)


def test_the_size_at_equal_weight_is_the_closed_form() -> None:
    # At B = B_crit time x compute is as N^2 D_min^(2 - e); with L fixed, alpha A N^-alpha / 2 = beta B D^-beta / (2 - e).
    chosen = frontier("equal").chosen
    shares = [
        EPOCH["alpha"] * EPOCH["A"] * chosen.params ** -EPOCH["alpha"] / 2,
        EPOCH["beta"] * EPOCH["B"] * chosen.small_batch_tokens ** -EPOCH["beta"] / (2 - E_CRIT),
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)


@pytest.mark.parametrize("i", [2, 6, 10, 14])
def test_points_for_a_loss_are_those_of_scipy(i: int) -> None:
    point = frontier("loss").points[i]

    def compute_within(log_params: float) -> float:
        # Steps in the time there is, S = S_min (1 + B_crit / B), give the batch.
        N = exp(log_params)
        D_min = tokens_of(N, 2.6)
        steps = point.seconds / (6 * N * 2048 / SPEED)
        excess = steps * critical_of(D_min) / D_min - 1
        return log(6 * N * D_min * (1 + 1 / excess)) if excess > 0 else 200.0

    best = minimize_scalar(compute_within, bounds=(log(2e8), log(2e9)), method="bounded", options={"xatol": 1e-7})
    assert log(point.compute) == pytest.approx(best.fun, abs=3e-3)


@pytest.mark.parametrize("i", [1, 5, 9, 13])
def test_points_for_a_budget_are_those_of_scipy(i: int) -> None:
    point = frontier("compute").points[i]

    def loss_within(log_params: float) -> float:
        # The budget gives D, the time gives the steps and so the batch; D_min by bisection on D.
        N = exp(log_params)
        tokens, steps = 1e21 / (6 * N), point.seconds / (6 * N * 4096 / SPEED)
        low, high = 0.0, tokens
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if middle * (1 + tokens / steps / critical_of(middle)) < tokens else (low, middle)
            )
        return loss_of(N, low) if low > 0 else 99.0

    best = minimize_scalar(loss_within, bounds=(log(2e8), log(6e9)), method="bounded", options={"xatol": 1e-7})
    assert point.loss == pytest.approx(best.fun, rel=2e-4)


def test_a_deadline_on_few_devices_buys_their_flops() -> None:
    # The devices compute all the time, so C = devices x speed x time; size by a line search at the chosen batch.
    made = make_frontier(Goal(deadline=MONTH), Cluster(devices=64))
    chosen = made.chosen
    assert chosen.compute == pytest.approx(64 * SPEED * MONTH, rel=1e-3)

    def loss_at(log_params: float) -> float:
        tokens = 64 * SPEED * MONTH / (6 * exp(log_params))
        D_min = float(made.problem.world.small_batch_tokens(exp(log_params), tokens, chosen.batch_tokens))
        return loss_of(exp(log_params), D_min)

    best = minimize_scalar(loss_at, bounds=(log(1e9), log(1e11)), method="bounded")
    assert chosen.loss == pytest.approx(best.fun, rel=2e-5)
    assert chosen.tokens_per_param == pytest.approx(64 * SPEED * MONTH / 6 / exp(best.x) ** 2, rel=0.05)


def test_serving_calls_for_smaller_models_as_scipy_finds() -> None:
    # Over-training: 6 N D + 2 N T at a fixed loss, least over N (Sardana et al. 2023, arXiv:2401.00448).
    served = 1e12
    made = make_frontier(Goal(loss=2.4, inference_tokens=served, weight=0.0))
    batch = made.chosen.batch_tokens

    def lifetime(log_params: float) -> float:
        N = exp(log_params)
        D_min = tokens_of(N, 2.4)
        return log(6 * N * D_min * (1 + batch / critical_of(D_min)) + 2 * N * served)

    best = minimize_scalar(lifetime, bounds=(log(3e8), log(1e10)), method="bounded")
    assert log(made.chosen.lifetime_compute) == pytest.approx(best.fun, abs=1e-3)
    assert made.chosen.params == pytest.approx(exp(best.x), rel=0.05)
    plain = make_frontier(Goal(loss=2.4, weight=0.0)).chosen
    assert made.chosen.params < plain.params / 1.5
    assert made.chosen.tokens_per_param > 3 * plain.tokens_per_param


# Properties.


def test_more_devices_are_never_slower() -> None:
    times = [
        make_frontier(Goal(loss=2.3), Cluster(devices=n, step_overhead=0.02)).points[0].seconds
        for n in (32, 100, 256, 2048)
    ]
    assert all(b <= a * (1 + 1e-4) for a, b in pairwise(times))
    assert times[-1] < times[0] / 10


def test_more_devices_never_end_higher() -> None:
    losses = [make_frontier(Goal(deadline=86400.0), Cluster(devices=n)).chosen.loss for n in (8, 64, 4096)]
    assert all(b < a for a, b in pairwise(losses))


def test_twice_the_flops_halve_the_time() -> None:
    goal = Goal(loss=2.4, inference_tokens=1e12)
    slow, fast = (make_frontier(goal, Cluster(devices=256, flops=f)) for f in (500e12, 1000e12))
    assert [p.seconds / 2 for p in slow.points] == pytest.approx([p.seconds for p in fast.points], rel=1e-9)
    assert [p.compute for p in slow.points] == pytest.approx([p.compute for p in fast.points], rel=1e-9)


def test_weight_moves_the_choice_along_the_frontier() -> None:
    chosen = [make_frontier(Goal(loss=2.6, weight=w)).chosen for w in (0.0, 0.5, 1.0)]
    assert all(b.seconds < a.seconds and b.compute > a.compute for a, b in pairwise(chosen))
    ends = make_frontier(Goal(loss=2.6, weight=0.5)).points
    assert chosen[0].compute == pytest.approx(ends[-1].compute, rel=5e-3)
    assert chosen[-1].seconds == pytest.approx(ends[0].seconds, rel=5e-3)


def test_at_a_budget_the_choice_is_that_of_its_own_loss() -> None:
    chosen = frontier("compute").chosen
    again = make_frontier(Goal(loss=chosen.loss)).chosen
    assert again.compute == pytest.approx(chosen.compute, rel=0.15)
    assert again.seconds == pytest.approx(chosen.seconds, rel=0.25)


def test_overhead_calls_for_larger_batches() -> None:
    small, large = (make_frontier(Goal(loss=2.3), Cluster(devices=256, step_overhead=o)).chosen for o in (0.0, 3.0))
    assert large.batch_tokens > small.batch_tokens
    assert large.efficiency < 1.0 == small.efficiency


@pytest.mark.parametrize(
    ("goal", "cluster", "said"),
    [
        (Goal(loss=1.5), Cluster(), "irreducible loss of epoch is 1.817"),
        (Goal(loss=1.82), Cluster(), "beyond 1P parameters"),
        (Goal(loss=2.6, params=1e8), Cluster(), "beyond 100M parameters"),
        (Goal(loss=9.0), Cluster(), "end of the search"),
        (Goal(compute=1e9), Cluster(), "too few: one step"),
        (Goal(compute=1e13), Cluster(), "end of the search"),
        (Goal(deadline=1e-6), Cluster(devices=8), "too short for one step"),
        (Goal(deadline=MONTH), Cluster(), "a deadline alone bounds nothing"),
        (Goal(deadline=10.0, params=7e10), Cluster(devices=8), "fewer than any that laws were measured on"),
        (Goal(loss=2.0, deadline=86400.0), Cluster(devices=8), "takes at least 2.7. y here, longer than the deadline"),
        (Goal(loss=2.0, compute=1e20), Cluster(), "takes at least .* FLOPs by epoch, more than"),
        (Goal(loss=2.6, unique_tokens=1e9), Cluster(), "with 1B unique tokens"),
    ],
)
def test_what_cannot_be_reached_is_one_sentence(goal: Goal, cluster: Cluster, said: str) -> None:
    with pytest.raises(ForescaleError, match=said) as raised:
        make_frontier(goal, cluster)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say what is wanted"),
        ({"loss": -1.0}, "above zero"),
        ({"loss": "2.6"}, "must be a number"),
        ({"compute": 1e40}, "check the exponent"),
        ({"loss": 2.6, "weight": 2.0}, "from 0 to 1"),
        ({"deadline": 1e5, "weight": 0.5}, "weight would be ignored"),
        ({"loss": 2.6, "params": 1e3}, "was a suffix forgotten"),
        ({"loss": 2.6, "seq_len": 1}, "seq_len"),
        ({"loss": 2.6, "seq_len": 2048.5}, "seq_len"),
        ({"loss": 2.6, "params": 1e9, "tokens_per_param": 20.0}, "have one loss"),
    ],
)
def test_goals_that_cannot_be(given: dict, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        Goal(**given)
