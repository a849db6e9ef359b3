"""The surface against sweeps of known truth, and against the mathematics of its own formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_surface import BATCH, RATE, gap, lowest, optimum, planted, planted_runs

from forescale.fit.surface import Surface, fit_surface, score_surface
from forescale.fit.surface._model import NAMES, SIZE, evaluate, phi
from forescale.fit.surface._prior import prior
from forescale.runs import read_runs

WORKLOADS = ((3e8, 1e10), (1.6e9, 6e10))  # inside the sweep, and twice its largest model


@pytest.fixture(scope="module")
def exact() -> Surface:
    return fit_surface(planted_runs())


@pytest.fixture(scope="module")
def noisy() -> Surface:
    return fit_surface(planted_runs(noise=0.002))


def test_a_planted_optimum_is_recovered(exact: Surface) -> None:
    # The exponents of the power laws that made the losses (closed form), to a hundredth without noise.
    p = exact.parameters
    assert (p["rate_params"], p["rate_tokens"]) == pytest.approx(RATE[1:], abs=0.01)
    assert (p["batch_params"], p["batch_tokens"]) == pytest.approx(BATCH[1:], abs=0.01)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_loss_and_choice_of_a_planted_surface(exact: Surface, workload: tuple[float, float]) -> None:
    best = exact.best(*workload)
    assert (best.learning_rate, best.batch_tokens) == pytest.approx(optimum(*workload), rel=0.03)
    assert best.loss == pytest.approx(lowest(*workload), rel=0.002)
    rates = np.array([0.5, 1.0, 2.0]) * optimum(*workload)[0]
    planted_gaps = [np.expm1(gap(float(np.log(f)), 0.0)) for f in (0.5, 1.0, 2.0)]
    assert exact.gap(*workload, rates, optimum(*workload)[1]) == pytest.approx(planted_gaps, abs=3e-4)


def test_noise_moves_the_optimum_by_less_than_its_interval_says(noisy: Surface) -> None:
    for workload in WORKLOADS:
        best = noisy.best(*workload)
        for value, truth, (low, high) in zip(
            (best.learning_rate, best.batch_tokens),
            optimum(*workload),
            (best.learning_rate_interval, best.batch_tokens_interval),
            strict=True,
        ):
            assert value == pytest.approx(truth, rel=0.12)
            assert low < truth < high


def test_intervals_hold_the_runs_they_promise() -> None:
    # Draws of the same truth with fresh noise: an 80 % interval is too wide rather than too narrow, for it also
    # holds the error of a new workload, of which this truth has none.
    surface = fit_surface(planted_runs(noise=0.003))
    fresh = score_surface(planted_runs(noise=0.003, seed=9), surface)
    assert fresh.near.covered is not None
    assert fresh.near.covered > 0.75


def test_a_fit_is_the_same_twice_and_in_any_order_of_the_runs() -> None:
    frame = planted(noise=0.002)
    one, two = (fit_surface(read_runs(f)) for f in (frame, frame.sample(fraction=1.0, shuffle=True, seed=3)))
    assert one.parameters == pytest.approx(two.parameters, abs=1e-3)
    assert one.source["sha256"] == two.source["sha256"]


def test_shuffled_losses_are_not_foretold() -> None:
    # Planted fault: with losses dealt to the wrong settings there is nothing to find, and R2 has to say so.
    frame = planted(noise=0.002)
    wrong = read_runs(frame.with_columns(pl.col("loss").shuffle(seed=1)))
    good = score_surface(planted_runs(noise=0.002, seed=5), fit_surface(read_runs(frame)))
    bad = score_surface(planted_runs(noise=0.002, seed=5), fit_surface(wrong))
    assert good.r2 is not None
    assert bad.r2 is not None
    assert good.r2 > 0.99
    assert bad.r2 < 0.7


def test_a_planted_edge_is_learnt() -> None:
    frame = planted(rates=11)
    edge = 5.0  # times the optimum
    ratio = pl.Series([r / optimum(n, d)[0] for n, d, r in frame.select("params", "tokens", "learning_rate").rows()])
    diverged = frame.with_columns(loss=pl.when(ratio > edge).then(pl.lit(9.0)).otherwise(pl.col("loss")))
    runs = read_runs(diverged)
    surface = fit_surface(runs)
    scored = score_surface(runs, surface)
    assert scored.called["diverged"] == int((ratio > edge).sum())
    assert scored.called["missed"] + scored.called["false_alarms"] == 0
    below, above = surface.divergence(3e8, 1e10, optimum(3e8, 1e10)[0] * np.array([3.0, 8.0]), optimum(3e8, 1e10)[1])
    assert below < 0.1 < 0.9 < above


theta = st.lists(st.floats(-1, 1), min_size=SIZE, max_size=SIZE)


@given(moves=theta, direction=st.floats(0, 2 * np.pi))
@settings(max_examples=50, deadline=None)
def test_the_gap_rises_from_one_minimum_in_every_direction(moves: list[float], direction: float) -> None:
    # The mathematics of the formula: phi >= 0, convex, 0 only at 0; so along any ray the gap rises, whatever the fit.
    mean, spread = prior(4e8, 2e10)
    parameters = (mean + np.array(moves) * spread)[None]
    along = np.linspace(0, 4, 60)
    centre = parameters[0, [NAMES.index("log_rate"), NAMES.index("log_batch")]]
    points = np.zeros((5, 60))
    points[0], points[1] = centre[0] + along * np.cos(direction), centre[1] + along * np.sin(direction)
    rise = evaluate(parameters, points).log_gap[0]
    assert rise[0] == 0
    assert np.all(np.diff(rise) >= -1e-12)


@given(t=st.floats(-20, 20))
def test_phi_is_convex_least_at_zero_and_steeper_above(t: float) -> None:
    value, slope = phi(np.array(t))
    assert value >= 0
    assert slope * t >= 0
    assert phi(np.array(abs(t)))[0] >= phi(np.array(-abs(t)))[0] - 1e-30  # rounding at t = 1e-16
    assert phi(np.array(t + 0.1))[1] >= slope


def test_the_gap_is_convex_near_the_optimum_and_steeper_above_it(noisy: Surface) -> None:
    # Facts 2.4 (median of Step Law's cells): twice the best learning rate costs more than twice what half of it does.
    lr, batch = optimum(3e8, 1e10)
    offsets = np.linspace(-2, 2, 81)
    along = noisy.gap(3e8, 1e10, lr * 2**offsets, batch)
    near = along[along < 0.02]
    assert np.all(np.diff(near, 2) > -1e-9)
    assert noisy.gap(3e8, 1e10, 2 * lr, batch) > noisy.gap(3e8, 1e10, lr / 2, batch)


@given(moves=theta)
@settings(max_examples=20, deadline=None)
def test_derivatives_are_those_of_the_formula(moves: list[float]) -> None:
    # Second method: central differences.
    mean, spread = prior(4e8, 2e10)
    parameters = (mean + 0.5 * np.array(moves) * spread)[None]
    points = np.array([[0.3, -1.0], [0.5, -0.7], [0.2, -0.4], [1.0, -1.0], [0.0, -0.8]])
    found = evaluate(parameters, points, gradient=True).gradient
    assert found is not None
    for i in range(SIZE):
        step = np.zeros(SIZE)
        step[i] = 1e-6
        up, down = (evaluate(parameters + sign * step, points) for sign in (1, -1))
        slope = (up.log_level + up.log_gap - down.log_level - down.log_gap) / 2e-6
        assert found[:, i] == pytest.approx(slope, abs=2e-7)


def test_plateau_ends_where_the_gap_is_reached(noisy: Surface) -> None:
    best, plateau = noisy.best(3e8, 1e10), noisy.plateau(3e8, 1e10, 0.004)
    ends = noisy.gap(3e8, 1e10, plateau.learning_rate, best.batch_tokens)
    sides = noisy.gap(3e8, 1e10, best.learning_rate, plateau.batch_tokens)
    assert np.concatenate([ends, sides]) == pytest.approx([0.004] * 4, rel=1e-6)


def test_the_best_rate_at_another_batch_lies_on_the_ridge(noisy: Surface) -> None:
    best = noisy.best(3e8, 1e10)
    other = noisy.best(3e8, 1e10, batch_tokens=4 * best.batch_tokens)
    rates = other.learning_rate * np.array([0.99, 1.0, 1.01])
    gaps = noisy.gap(3e8, 1e10, rates, 4 * best.batch_tokens)
    assert gaps.argmin() == 1
    assert other.learning_rate > best.learning_rate


def test_the_expected_gap_is_never_less_than_nothing_and_grows_away_from_the_runs(noisy: Surface) -> None:
    near, far = (noisy.best(n, d) for n, d in ((3e8, 1e10), (1e11, 1e13)))
    inside = noisy.expected_gap(3e8, 1e10, near.learning_rate, near.batch_tokens)
    outside = noisy.expected_gap(1e11, 1e13, far.learning_rate, far.batch_tokens)
    assert inside.value == pytest.approx(0, abs=1e-12)
    assert 0 < inside.mean < outside.mean
    assert inside.low <= inside.mean <= inside.high


def test_no_best_learning_rate_where_runs_diverge(noisy: Surface) -> None:
    low = replace(noisy, edge=replace(noisy.edge, constant=0.0))
    best = low.best(3e8, 1e10)
    assert best.capped
    assert not noisy.best(3e8, 1e10).capped
    assert low.divergence(3e8, 1e10, best.learning_rate, best.batch_tokens) == pytest.approx(0.01, rel=1e-6)
