"""The batch driven by a noise scale: only relative growth, hysteresis, only up, states that resume."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.noise.schedule import BatchController, BatchState, calibrated, parse


def driven(controller: BatchController, state: BatchState, readings: list[float], every: int = 1000) -> BatchState:
    for reading in readings:
        state = controller.next(state, reading, state.tokens + every)
    return state


def test_it_doubles_after_enough_readings_in_a_row() -> None:
    controller = calibrated(64, 10.0, patience=3)  # 64 sequences were right at a noise scale of 10: 128 are at 20
    state = driven(controller, controller.start(64), [20.0, 20.0])
    assert state.sequences == 64
    assert state.last.endswith("waits, 2 of 3 updates")
    state = driven(controller, state, [20.0])
    assert state.sequences == 128
    assert [(c.tokens, c.before, c.after) for c in state.changes] == [(3000, 64, 128)]
    assert controller.lr_factor(state) == pytest.approx(math.sqrt(2))
    assert "learning rate x 1.414" in state.last


def test_one_low_or_unresolved_reading_starts_the_count_again() -> None:
    controller = calibrated(64, 10.0, patience=3)
    for interruption in (19.9, math.nan, math.inf, -3.0):
        state = driven(controller, controller.start(64), [20.0, 20.0, interruption, 20.0, 20.0])
        assert state.sequences == 64
        assert state.above == 2
    assert "not resolved (nan)" in controller.next(state, math.nan, state.tokens).last


def test_only_relative_growth_counts() -> None:
    # The same history in other units: the noise scale underestimates the critical batch by a constant of its own.
    history = [10.0, 12, 25, 26, 24, 40, 45, 41, 80, 90, 82]
    small, large = calibrated(64, 10.0, patience=2), calibrated(64, 1e5, patience=2)
    first = driven(small, small.start(64), history)
    second = driven(large, large.start(64), [1e4 * reading for reading in history])
    assert [(c.tokens, c.after) for c in first.changes] == [(c.tokens, c.after) for c in second.changes]
    assert first.sequences == 512


def test_a_margin_asks_for_more() -> None:
    plain, wary = calibrated(64, 10.0, patience=1), calibrated(64, 10.0, patience=1, margin=1.5)
    assert driven(plain, plain.start(64), [25.0]).sequences == 128
    assert driven(wary, wary.start(64), [25.0]).sequences == 64
    assert driven(wary, wary.start(64), [30.0]).sequences == 128


def test_merrills_rule_is_a_doubling_when_the_critical_batch_is_twice_the_batch() -> None:
    controller = BatchController(per_noise=1.0, patience=1)  # readings that are critical batches themselves
    assert driven(controller, controller.start(1024), [2047.0]).sequences == 1024
    assert driven(controller, controller.start(1024), [2048.0]).sequences == 2048


def test_it_stops_at_the_most() -> None:
    controller = calibrated(64, 10.0, patience=1, most=128)
    state = driven(controller, controller.start(64), [1e3, 1e3])
    assert state.sequences == 128
    assert state.last == "kept 128: 256 would pass the most, 128"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40), st.integers(1, 4))
def test_it_never_goes_down_and_stays_a_multiple(readings: list[float], patience: int) -> None:
    controller = calibrated(24, 3.0, patience=patience, multiple=8)
    state = controller.start(24)
    for reading in readings:
        after = controller.next(state, reading, state.tokens + 1)
        assert after.sequences in (state.sequences, 2 * state.sequences)
        assert after.sequences % 8 == 0
        assert after.last
        state = after
    assert len(state.changes) <= len(readings) // patience


@given(st.lists(st.floats(0.1, 1e4), max_size=20), st.integers(0, 20))
def test_a_state_resumes_from_json(readings: list[float], cut: int) -> None:
    controller = calibrated(8, 1.0, patience=2)
    whole = driven(controller, controller.start(8), readings)
    part = driven(controller, controller.start(8), readings[:cut])
    again = BatchState.from_json(json.loads(json.dumps(part.to_json())))
    assert again == part
    assert driven(controller, again, readings[cut:]) == whole


def test_what_was_decided_is_a_schedule() -> None:
    controller = calibrated(64, 10.0, patience=1)
    state = driven(controller, controller.start(64), [15.0, 20.0, 40.0])
    made = controller.schedule(state, seq_len=10)
    assert made.stages == parse("0:64 2K:128 3K:256", 10).stages
    assert made.lr_rule == "sqrt"
    assert made.lr_factor_at(3000) == pytest.approx(controller.lr_factor(state))


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ForescaleError, match="per_noise must be finite and above zero"):
        BatchController(per_noise=0)
    with pytest.raises(ForescaleError, match="growth is the factor of a change, a whole number from 2; got 1"):
        BatchController(per_noise=1, growth=1)
    with pytest.raises(ForescaleError, match="margin must be 1 or more"):
        BatchController(per_noise=1, margin=0.9)
    with pytest.raises(ForescaleError, match="multiple of 8 sequences; got 12"):
        BatchController(per_noise=1, multiple=8).start(12)
    with pytest.raises(ForescaleError, match="at most 8 sequences; got 12"):
        BatchController(per_noise=1, most=8).start(12)
    with pytest.raises(ForescaleError, match="must not go back; got 5 after 10"):
        BatchController(per_noise=1).next(BatchState(sequences=8, tokens=10), 1.0, 5)
    with pytest.raises(ForescaleError, match="no state of a batch controller"):
        BatchState.from_json({"sequences": 8})
