"""Schedules: pure functions of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.schedules import SCHEDULES, Schedule, cosine, linear

runs = st.integers(2, 400).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(0, steps - 1)))


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@given(runs, st.floats(0, 1))
def test_first_and_last_steps_learn_and_the_peak_is_one(schedule: Schedule, run: tuple[int, int], final: float) -> None:
    steps, warmup = run
    factors = [schedule(i, steps, warmup, final) for i in range(steps)]
    assert min(factors) > 0
    assert max(factors) == 1
    assert factors[warmup] == 1


@given(runs, st.floats(0, 1))
def test_warmup_rises_and_decay_falls(run: tuple[int, int], final: float) -> None:
    steps, warmup = run
    for schedule in SCHEDULES.values():
        factors = [schedule(i, steps, warmup, final) for i in range(steps)]
        assert factors[:warmup] == sorted(factors[:warmup])
        assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
        assert factors[-1] >= final


def test_linear_to_zero_averages_half_for_any_warmup() -> None:
    # Closed form: the mean of linear-to-zero is 1/2 of the peak whatever the warmup (Straight to Zero, 2502.15938).
    steps = 20_000
    for warmup in (0, 2000, 10_000):
        mean = sum(linear(i, steps, warmup) for i in range(steps)) / steps
        assert mean == pytest.approx(0.5, abs=1e-4)
    assert sum(linear(i, steps, 0, 0.1) for i in range(steps)) / steps == pytest.approx(0.55, abs=1e-4)
    assert sum(cosine(i, steps, 0, 0.1) for i in range(steps)) / steps == pytest.approx(0.55, abs=1e-4)


@pytest.mark.parametrize(("step", "steps", "warmup"), [(-1, 10, 1), (10, 10, 1), (0, 10, 10), (0, 10, -1)])
def test_impossible_steps(step: int, steps: int, warmup: int) -> None:
    with pytest.raises(ForescaleError, match="a schedule needs"):
        linear(step, steps, warmup)
