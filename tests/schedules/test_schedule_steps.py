"""Which step sees which factor: the larger of the two ends of the progress that it covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.schedules import constant, cosine, factor_at, factors, linear, linear_to_zero, step

runs = st.integers(2, 400).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(0, steps - 1)))


def closed_form(shape: str, i: int, steps: int, warmup: int, final: float) -> float:
    """The step semantics written out: (i + 1) / W while i < W, then the shape of (S - i) / (S - W)."""
    if i < warmup:
        return (i + 1) / warmup
    left = (steps - i) / (steps - warmup)
    return final + (1 - final) * (left if shape == "linear" else 0.5 - 0.5 * np.cos(np.pi * left))


@pytest.mark.parametrize(("shape", "make"), [("linear", linear), ("cosine", cosine)])
@given(runs, st.floats(0, 1))
def test_a_warmup_of_whole_steps_is_the_closed_form(shape: str, make, run: tuple[int, int], final: float) -> None:
    steps, warmup = run
    schedule = make(warmup / steps, final)
    expected = [closed_form(shape, i, steps, warmup, final) for i in range(steps)]
    # Progress is i / steps rounded to a float, so the factor can be that far off, times the slope.
    np.testing.assert_allclose(
        factors(schedule, steps), expected, rtol=0, atol=2e-16 * steps / (steps - warmup) + 1e-15
    )


@pytest.mark.parametrize("make", [linear, cosine])
@given(runs, st.floats(0, 1))
def test_first_and_last_steps_learn_and_the_peak_is_one(make, run: tuple[int, int], final: float) -> None:
    steps, warmup = run
    seen = factors(make(warmup / steps, final), steps)
    assert seen.min() > 0
    assert seen.max() == 1
    assert seen[warmup] == 1
    assert (np.diff(seen[:warmup]) > 0).all()
    assert (np.diff(seen[warmup:]) <= 0).all()
    assert seen[-1] >= final


def test_which_step_sees_which_factor() -> None:
    # By hand: a run of ten steps, two of warmup; ends at 0, .5, 1, .875, ..., .125, 0 and the larger of neighbours.
    expected = [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    np.testing.assert_allclose(factors(linear_to_zero(0.2), 10), expected, rtol=1e-14)


def test_without_whole_warmup_steps_no_step_reaches_the_peak() -> None:
    # By hand: the peak lies at 0.15, inside step 1, whose ends are at 0.1 and 0.2.
    seen = factors(linear_to_zero(0.15), 10)
    np.testing.assert_allclose(seen[:3], [0.1 / 0.15, 0.8 / 0.85, 0.8 / 0.85])
    assert seen.max() < 1


def test_the_step_that_contains_a_jump_uses_the_value_before_it() -> None:
    assert factors(step(0.0, [(0.5, 0.1)]), 4).tolist() == [1, 1, 0.1, 0.1]  # the jump lies between two steps
    assert factors(step(0.0, [(0.6, 0.1)]), 4).tolist() == [1, 1, 1, 0.1]  # the jump lies inside the third


@given(runs)
def test_factors_are_factor_at_of_every_step(run: tuple[int, int]) -> None:
    steps, warmup = run
    schedule = cosine(warmup / steps, 0.1)
    assert factors(schedule, steps).tolist() == [factor_at(schedule, i, steps) for i in range(steps)]


def test_numpy_integers_are_steps() -> None:
    assert factor_at(linear_to_zero(0.0), np.int64(1), np.int32(4)) == 0.75
    assert len(factors(constant(), np.int64(7))) == 7


@pytest.mark.parametrize(
    ("i", "steps", "words"),
    [
        (-1, 10, "a step must be a whole number from 0; got -1"),
        (1.5, 10, "a step must be a whole number from 0; got 1.5"),
        (True, 10, "a step must be a whole number"),
        (10, 10, "a run of 10 steps has steps 0 to 9; got step 10"),
        (0, 0, "steps must be a whole number above zero; got 0"),
        (0, 2.0, "steps must be a whole number above zero; got 2.0"),
    ],
)
def test_impossible_steps(i, steps, words: str) -> None:
    with pytest.raises(ForescaleError, match=words):
        factor_at(linear_to_zero(), i, steps)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_function_of_the_users_own_is_a_schedule_as_long_as_it_is_one(value: float) -> None:
    assert factors(lambda p: 2 - p, 4).tolist() == [2, 1.75, 1.5, 1.25]
    with pytest.raises(ForescaleError, match="must be finite and at least 0"):
        factors(lambda _: value, 4)
