"""Fronts against brute force, areas against closed forms and Optuna, chances against integrals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from scipy.stats import norm

from forescale.errors import ForescaleError
from forescale.sweep.pareto import Metric, Point, flops_per_token, front, hypervolume, make_front, reference_point
from forescale.sweep.pareto._front import averaged, noise_of
from forescale.workload import Shape

TIME = Metric(name="step time", unit="s")
SPEED = Metric(name="decoding speed", unit="tokens/s", higher_is_better=True)
GRID = st.integers(0, 8).map(float)  # few values, so that there are ties
PAIRS = st.lists(st.tuples(GRID, GRID), min_size=1, max_size=12)
EDGE = (9.0, 9.0)
LEISURELY = settings(deadline=None)  # machines may be busy


def points_of(pairs: Sequence[tuple[float, float]]) -> list[Point]:
    return [Point(loss=loss, value=value) for loss, value in pairs]


def values(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(p.loss, p.value) for p in points]


def unbeaten(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """By the definition, every pair of points."""

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return [p for p in pairs if not any(beats(other, p) for other in pairs)]


@LEISURELY
@given(PAIRS)
def test_a_front_is_what_no_other_point_beats(pairs: list[tuple[float, float]]) -> None:
    assert values(front(points_of(pairs), TIME)) == sorted(unbeaten(pairs))
    faster = [(loss, -value) for loss, value in pairs]
    assert values(front(points_of(faster), SPEED)) == [(loss, -value) for loss, value in sorted(unbeaten(pairs))]


@LEISURELY
@given(PAIRS)
def test_an_area_counts_the_squares_that_are_beaten(pairs: list[tuple[float, float]]) -> None:
    cells = {(x, y) for a, b in pairs for x in range(int(a), 9) for y in range(int(b), 9)}  # of a grid of unit squares
    assert hypervolume(points_of(pairs), TIME, EDGE) == len(cells)


@LEISURELY
@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=20))
def test_an_area_is_that_of_optuna(pairs: list[tuple[float, float]]) -> None:
    expected = compute_hypervolume(np.array(pairs), np.array(EDGE))
    assert hypervolume(points_of(pairs), TIME, EDGE) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_area_above_a_hyperbola() -> None:
    # Points of loss x time = 1 beat, within (2, 2), what lies above it: 4 - 2 x 1/2 - the integral of 1/x from 1/2 to 2.
    pairs = [(x, 1 / x) for x in np.geomspace(0.5, 2, 20001).tolist()]
    assert hypervolume(points_of(pairs), TIME, (2.0, 2.0)) == pytest.approx(4 - 1 - math.log(4), abs=1e-3)


@LEISURELY
@given(PAIRS, GRID, GRID)
def test_a_point_more_never_takes_area_away(pairs: list[tuple[float, float]], loss: float, value: float) -> None:
    before, after = (hypervolume(points_of(each), TIME, EDGE) for each in (pairs, [*pairs, (loss, value)]))
    assert after >= before
    if (loss, value) in pairs or unbeaten([*pairs, (loss, value)]) == unbeaten(pairs):
        assert after == before  # a point that is beaten changes nothing


def test_a_direction_turned_round_is_noticed() -> None:
    pairs = [(2.0, 10.0), (2.5, 20.0)]
    assert len(front(points_of(pairs), SPEED)) == 2
    assert values(front(points_of(pairs), TIME)) == [(2.0, 10.0)]  # the fault: speed taken for a cost


def test_a_run_without_a_number_is_on_no_front() -> None:
    pairs = [(math.inf, 1.0), (math.nan, 1.0), (2.0, math.nan), (3.0, 5.0)]
    found = make_front(points_of(pairs), TIME)
    assert values(found.members) == [(3.0, 5.0)]
    assert found.chances == (0, 0, 0, 1)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["points"][0]["loss"] is None


def test_no_measured_point_is_an_error() -> None:
    with pytest.raises(ForescaleError, match="got none of 1"):
        make_front([Point(loss=math.inf, value=1.0)], TIME)


def test_the_reference_is_a_tenth_of_the_extent_beyond_the_front() -> None:
    pairs = [(2.0, 30.0), (3.0, 10.0), (9.0, 90.0)]  # the last is beaten, and does not move it
    assert reference_point(points_of(pairs), TIME) == pytest.approx((3 * 1.5**0.1, 30 * 3**0.1))
    assert reference_point(points_of([(2.0, 1.0), (3.0, 100.0)]), SPEED) == pytest.approx((3 * 1.5**0.1, 100**-0.1))
    assert reference_point(points_of([(2.0, 30.0)]), TIME) == pytest.approx((2 * math.exp(0.1), 30 * math.exp(0.1)))
    signed = [(2.0, -1.0), (3.0, -3.0)]  # logarithms of something, say
    assert reference_point(points_of(signed), TIME)[1] == pytest.approx(-1 + 0.2)
    assert reference_point(points_of([(2.0, -4.0)]), TIME)[1] == pytest.approx(-4 + 0.4)
    with pytest.raises(ForescaleError, match="two finite numbers"):
        hypervolume(points_of(pairs), TIME, (math.inf, 1.0))


def test_two_points_of_one_value_share_the_front_by_their_noise() -> None:
    # ln 2.01 - ln 2 over the sd of the difference of two losses, one of two standard deviations.
    found = make_front([Point(loss=2.0, value=1.0), Point(loss=2.01, value=1.0)], TIME, noise=0.004)
    better = float(norm.cdf(math.log(2.01 / 2.0) / (0.004 * math.sqrt(2))))
    assert found.chances == pytest.approx((better, 1 - better), abs=0.03)
    assert len(found.members) == 1
    assert found.noise_source == "given"


def test_without_noise_a_chance_says_who_is_on_the_front() -> None:
    pairs = [(2.0, 3.0), (2.5, 2.0), (2.6, 2.5), (2.0, 3.0)]
    assert make_front(points_of(pairs), TIME, noise=0.0).chances == (1, 1, 0, 1)


def test_noise_in_the_second_metric_counts_too() -> None:
    pair = [Point(loss=2.0, value=1.0, value_sd=0.1), Point(loss=2.5, value=1.1, value_sd=0.1)]
    found = make_front(pair, TIME, noise=0.0)
    assert found.chances == pytest.approx((1.0, float(norm.cdf(-0.1 / (0.1 * math.sqrt(2))))), abs=0.03)


def test_a_setting_whose_rate_is_not_at_its_best_may_be_better_than_it_looks() -> None:
    # Beaten by ln(2.02 / 2); an exponential gap of mean 0.01 takes that much away with probability exp(-0.995).
    pair = [Point(loss=2.0, value=1.0), Point(loss=2.02, value=1.0, loss_gap=0.01)]
    found = make_front(pair, TIME, noise=0.0)
    assert found.chances[1] == pytest.approx(math.exp(-math.log(1.01) / 0.01), abs=0.03)


def test_seeds_are_averaged_and_say_how_noisy_losses_are() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(math.log(3.0), 0.01, (50, 4))
    points = [
        Point(settings={"depth": i, "seed": j}, loss=math.exp(x), value=float(j))
        for i, row in enumerate(logs.tolist())
        for j, x in enumerate(row)
    ]
    sd, source = noise_of(points)
    assert sd == pytest.approx(math.sqrt(logs.var(axis=1, ddof=1).mean()), rel=1e-12)
    assert source == "repeated seeds, 150 degrees of freedom"
    merged = averaged(points, sd)
    assert len(merged) == 50
    assert merged[3].settings == {"depth": 3}
    assert (math.log(merged[3].loss), merged[3].value) == pytest.approx((logs[3].mean(), 1.5))
    assert merged[3].loss_sd == pytest.approx(sd / 2)


def test_the_same_run_made_twice_says_nothing_of_the_noise() -> None:
    twice = [Point(settings={"depth": 1}, loss=2.0, value=v) for v in (1.0, 3.0)]
    sd, source = noise_of(twice)
    assert source.startswith("no repeated seeds")
    (merged,) = averaged(twice, sd)
    assert (merged.loss, merged.value, merged.loss_sd) == pytest.approx((2.0, 2.0, sd))


def test_seeds_of_which_one_diverged_diverged() -> None:
    pair = [Point(settings={"depth": 1, "seed": s}, loss=x, value=1.0) for s, x in enumerate((2.0, math.inf))]
    assert averaged(pair, 0.1)[0].loss == math.inf


@LEISURELY
@given(PAIRS)
def test_points_without_settings_stay_apart(pairs: list[tuple[float, float]]) -> None:
    points = [Point(loss=1 + loss, value=value) for loss, value in pairs]
    assert len(averaged(points, 0.1)) == len(pairs)


@pytest.mark.parametrize("wrong", [{"loss_sd": -1.0}, {"value_sd": math.nan}, {"loss_gap": math.inf}])
def test_a_spread_below_zero_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ForescaleError, match="not below 0"):
        Point(loss=1.0, value=1.0, **wrong)
    with pytest.raises(ForescaleError, match="noise must be"):
        make_front([Point(loss=1.0, value=1.0)], TIME, noise=math.nan)


def test_a_loss_below_zero_is_refused() -> None:
    with pytest.raises(ForescaleError, match="not a score"):
        make_front([Point(loss=-1.0, value=1.0)], TIME)


def test_flops_of_a_token_by_hand() -> None:
    # One layer of width 8, one head, FFN of 16 (gated), norms 3 x 8: 4 x 64 + 3 x 128 + 24 = 664, and 10 x 8 for the output.
    shape = Shape(layers=1, width=8, heads=1, ffn_width=16, vocab=10)
    assert flops_per_token(shape, 5) == 2 * (664 + 80) + 4 * 8 * 5
