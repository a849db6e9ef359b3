"""The regression engine: equal to least squares, one fit at a time."""

from __future__ import annotations

import numpy as np
import pytest

from forescale.fit._regression import all_but_one, regression, resample_counts, solve_positive

RNG = np.random.default_rng(3)
FEATURES = np.column_stack([RNG.normal(20, 0.5, 40), RNG.normal(24, 0.8, 40), RNG.normal(-1, 0.3, 40)])
TARGETS = np.column_stack([4 - 0.7 * FEATURES[:, 0] + 0.3 * FEATURES[:, 1], RNG.normal(13, 1, 40)])
TARGETS = TARGETS + RNG.normal(0, 0.1, TARGETS.shape)
USES = [(0, 1, 2), (1,)]


def by_lstsq(rows: np.ndarray, target: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The same fit by the textbook's way."""
    design = np.column_stack([np.ones(len(rows)), FEATURES[rows][:, USES[target]]])
    root = np.sqrt(np.ones(len(rows)) if weights is None else weights)
    return np.linalg.lstsq(design * root[:, None], TARGETS[rows, target] * root)[0]


def test_each_bootstrap_is_the_least_squares_of_its_rows() -> None:
    counts = resample_counts(40, 30, seed=1)
    found = regression(FEATURES, TARGETS, USES).solve(counts)
    for r, count in enumerate(counts.astype(int)):
        for target in (0, 1):
            expected = by_lstsq(np.repeat(np.arange(40), count), target)
            assert found[target][r] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_weights() -> None:
    weights = RNG.uniform(0.1, 2, 40)
    found = regression(FEATURES, TARGETS, USES, weights=weights).solve(np.ones((1, 40)))
    for target in (0, 1):
        assert found[target][0] == pytest.approx(by_lstsq(np.arange(40), target, weights), rel=1e-9, abs=1e-9)


def test_leaving_a_group_out_is_the_fit_without_it() -> None:
    groups = np.arange(40) % 5
    found = regression(FEATURES, TARGETS, USES, groups=groups).solve(all_but_one(5))
    for group in range(5):
        expected = by_lstsq(np.flatnonzero(groups != group), 0)
        assert found[0][group] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_singular_draw_is_nan_and_the_others_are_not() -> None:
    counts = np.ones((2, 40))
    counts[0] = 0
    counts[0, 7] = 40
    slopes = regression(FEATURES, TARGETS, USES).solve(counts)[0]
    assert np.isnan(slopes[0]).all()
    assert np.isfinite(slopes[1]).all()


def test_a_feature_that_follows_from_another_is_singular() -> None:
    features = np.column_stack([FEATURES[:, 0], FEATURES[:, 0] + np.log(20)])
    assert np.isnan(regression(features, TARGETS, [(0, 1), (0,)]).solve(np.ones((1, 40)))[0]).all()


def test_many_systems_at_once() -> None:
    halves = RNG.normal(size=(50, 9, 12))
    matrices = halves @ halves.transpose(0, 2, 1)
    right = RNG.normal(size=(50, 9))
    expected = np.linalg.solve(matrices, right[..., None])[..., 0]
    assert solve_positive(matrices, right) == pytest.approx(expected, rel=1e-8)


def test_counts_are_draws_with_replacement() -> None:
    counts = resample_counts(7, 100, seed=5)
    assert counts.shape == (100, 7)
    assert (counts.sum(1) == 7).all()
    assert (counts == resample_counts(7, 100, seed=5)).all()
    assert (counts != resample_counts(7, 100, seed=6)).any()


@pytest.mark.parametrize(("units", "resamples"), [(7, 1000), (101, 250), (3, 99)])
def test_blocks_draw_as_one_table_would(units: int, resamples: int) -> None:
    drawn = np.random.default_rng(42).integers(0, units, (resamples, units))
    expected = [np.bincount(row, minlength=units) for row in drawn]
    assert (resample_counts(units, resamples, seed=42) == expected).all()
