"""The benchmark's rule at points whose value its paper and code state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forescale import ForescaleError
from forescale.forecast.uses import nab_score

WINDOW = (400, 499)


def alarms(*steps: int) -> list[np.ndarray]:
    scores = np.zeros(1000)
    scores[list(steps)] = 1.0
    return [scores]


def score(*steps: int) -> float:
    return nab_score(alarms(*steps), [[WINDOW]], threshold=0.5).score


def test_perfect_and_silent_detectors() -> None:
    """100 and 0 by definition."""
    assert score(400) == pytest.approx(100)
    assert score() == 0


def test_credit_falls_over_the_window() -> None:
    """S = 2 sigmoid(-5y) - 1 at y = -0.5, over its value at -1: .84828 / .98661 (the benchmark's code states both)."""
    assert score(450) == pytest.approx(50 * (1 + 0.84828 / 0.98661), abs=1e-3)
    assert score(400, 450, 499) == pytest.approx(100)


def test_false_alarms_cost_011_and_less_just_behind_a_window() -> None:
    assert score(400, 300) == pytest.approx(100 - 50 * 0.11)
    assert score(400, 499 + 99) == pytest.approx(100 - 50 * 0.11 * 0.98661, abs=1e-3)
    one = 1 - 2 / (1 + math.exp(5 / 99))
    assert score(400, 500) == pytest.approx(100 - 50 * 0.11 * one)


def test_the_first_values_are_not_judged() -> None:
    """15 % of the series."""
    assert score(400, 149) == pytest.approx(100)
    assert score(400, 150) < 100


def test_counts_and_f1() -> None:
    judged = nab_score([*alarms(410, 800, 801), *alarms(5)], [[WINDOW], [(700, 750)]], threshold=0.5)
    assert (judged.found, judged.windows, judged.false_alarms) == (1, 2, 2)
    assert judged.f1 == pytest.approx(2 / (2 + 1 + 2))


def test_the_best_threshold_is_found() -> None:
    scores = np.random.default_rng(0).random(1000)
    scores[405] = 3.0
    best = nab_score([scores], [[WINDOW]])
    assert best.found == 1
    assert best.false_alarms == 0


def test_windows_are_needed() -> None:
    with pytest.raises(ForescaleError, match="a window"):
        nab_score(alarms(), [[]])
