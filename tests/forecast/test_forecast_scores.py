"""Scores of paths: against closed forms and brute force over pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from forescale import ForescaleError
from forescale.forecast import scores
from forescale.forecast._scores import crps


def test_crps_of_a_normal_law() -> None:
    """Gneiting & Raftery 2007, eq. 5: s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    mean, scale, y = 3.0, 2.0, np.array([1.0, 3.0, 8.5])
    z = (y - mean) / scale
    exact = scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    paths = mean + scale * norm.ppf((np.arange(40_000) + 0.5) / 40_000)[:, None]
    assert crps(np.repeat(paths, 3, 1), y) == pytest.approx(exact, abs=1e-3)


def test_scores_by_brute_force() -> None:
    random = np.random.default_rng(0)
    paths, y = random.normal(5, 2, (3, 2, 30, 4)), random.normal(5, 2, (3, 2, 4))
    found = scores(paths, y)
    total = {"nd": 0.0, "wql": 0.0, "crps": 0.0}
    inside = 0
    for place in np.ndindex(3, 2, 4):
        x, truth = paths[place[0], place[1], :, place[2]], y[place]
        total["nd"] += abs(truth - np.median(x))
        for tau in np.arange(1, 10) / 10:
            q = np.quantile(x, tau)
            total["wql"] += 2 * (truth - q) * (tau - (truth < q)) / 9
        pairs = [abs(a - b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
        total["crps"] += np.mean(np.abs(x - truth)) - np.mean(pairs) / 2
        inside += bool(np.quantile(x, 0.1) <= truth <= np.quantile(x, 0.9))
    for name, value in total.items():
        assert found[name] == pytest.approx(value / np.abs(y).sum())
    assert found["coverage_80"] == pytest.approx(inside / 24)


def test_a_point_forecast_has_one_score() -> None:
    y = np.array([[1.0, -2.0], [4.0, 0.5]])
    found = scores(np.zeros((2, 1, 2)), y)
    assert found["nd"] == pytest.approx(1) == found["wql"] == found["crps"] == found["nd_macro"]


def test_missing_values_and_series_of_zeros_are_left_out() -> None:
    random = np.random.default_rng(1)
    paths, y = random.normal(size=(2, 20, 3)), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert scores(paths, y)["wql_macro"] == pytest.approx(scores(paths[:1], y[:1])["wql"])
    gap = np.array([[1.0, np.nan, 3.0]])
    assert scores(paths[:1], gap)["wql"] == pytest.approx(scores(paths[:1, :, [0, 2]], gap[:, [0, 2]])["wql"])


def test_shapes_that_do_not_match() -> None:
    with pytest.raises(ForescaleError, match="must match"):
        scores(np.zeros((2, 5, 3)), np.zeros((2, 4)))


def test_values_and_paths_that_have_no_scores() -> None:
    for y, count in ((np.full((2, 4), np.nan), 0), (np.zeros((2, 4)), 8)):
        with pytest.raises(ForescaleError, match=f"got {count} observed values, all 0"):
            scores(np.ones((2, 3, 4)), y)
    with pytest.raises(ForescaleError, match="paths must be finite"):
        scores(np.full((2, 3, 4), np.inf), np.ones((2, 4)))
