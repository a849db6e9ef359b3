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


def by_the_rule(scores: list[np.ndarray], windows: list[list[tuple[int, int]]], threshold: float) -> float:
    """The rule value by value, as the benchmark's paper tells it: the second computation."""
    total, count = 0.0, sum(map(len, windows))
    for values, of_series in zip(scores, windows, strict=True):
        earned = {}
        for t in range(int(min(0.15 * len(values), 750)), len(values)):
            if not values[t] >= threshold:
                continue
            inside = [k for k, (first, last) in enumerate(of_series) if first <= t <= last]
            before = [(first, last) for first, last in of_series if last < t]
            if inside:
                first, last = of_series[inside[0]]
                place = (t - last - 1) / (last - first + 1)
                gain = (2 / (1 + math.exp(5 * place)) - 1) / (2 / (1 + math.exp(-5)) - 1)
                earned[inside[0]] = max(earned.get(inside[0], -1.0), gain)
            elif before:
                first, last = before[-1]
                total += 0.11 * (2 / (1 + math.exp(min(5 * (t - last) / (last - first), 700))) - 1)
            else:
                total -= 0.11
        total += sum(earned.get(k, -1.0) for k in range(len(of_series)))
    return 100 * (total + count) / (2 * count)


def test_every_threshold_is_tried() -> None:
    """Random scores with ties and holes: the score of some thresholds, and the best of all, by brute force."""
    random = np.random.default_rng(4)
    scores = [np.round(random.normal(size=n), 1) for n in (300, 200, 120)]
    scores[1][150:160] = np.nan
    windows = [[(100, 139), (200, 229)], [], [(60, 89)]]
    for k, (first, last) in ((0, (110, 112)), (2, (61, 64))):
        scores[k][first:last] += 3
    for threshold in (0.0, 1.5, 3.3, 9.0):
        assert nab_score(scores, windows, threshold=threshold).score == pytest.approx(
            by_the_rule(scores, windows, threshold)
        )
    thresholds = np.unique(np.concatenate(scores))
    best = max(by_the_rule(scores, windows, float(each)) for each in thresholds[np.isfinite(thresholds)])
    assert nab_score(scores, windows).score == pytest.approx(best)
    tried = [nab_score(scores, windows, threshold=float(each)).f1 for each in thresholds[np.isfinite(thresholds)]]
    assert nab_score(scores, windows, best="f1").f1 == pytest.approx(max(tried))


def test_silence_is_best_where_alarms_earn_nothing() -> None:
    found = nab_score([np.arange(1000.0)[::-1]], [[(900, 901)]])
    assert (found.score, found.threshold, found.false_alarms) == (0, math.inf, 0)
