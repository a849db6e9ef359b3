"""Gaps between two known sides, against the closed form of a random walk's bridge and the gap seen from one side."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from forescale import ForescaleError
from forescale.forecast import C2FAR, Training
from forescale.forecast.uses import interpolate
from forescale.forecast.uses._interpolate import weighted_quantiles

GAP = slice(500, 506)


def variance(steps: int, a: float = 0.97) -> float:
    """So many steps ahead, in units of a step's."""
    return (1 - a ** (2 * steps)) / (1 - a**2)


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    """A mean-reverting walk, so that windows look alike."""
    y, steps = np.zeros(900), np.random.default_rng(5).normal(size=900)
    for t in range(1, 900):
        y[t] = 0.97 * y[t - 1] + steps[t]
    return y


def frame(y: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"ds": range(len(y)), "y": y})


@pytest.fixture(scope="module")
def model(walk: np.ndarray) -> C2FAR:
    options = {"horizon": 12, "context": 12, "span": 96, "hidden": 8, "lags": (), "law": "normal"}
    return C2FAR(training=Training(steps=200, batch=64, learning_rate=2e-2), **options).fit(frame(walk), progress=False)


def test_the_gap_meets_both_sides(model: C2FAR, walk: np.ndarray) -> None:
    """The bridge of an AR(1) of coefficient a over a gap of g, closed form: its last value lies near the right side."""
    y = walk.copy()
    y[GAP] = np.nan
    found = interpolate(model, frame(y), paths=1500)
    forecast = model.quantiles(frame(y[: GAP.start]), 6, (0.5,), paths=1500)["q0.5"].to_numpy()
    a, g = 0.97, 6
    left, right = y[GAP.start - 1], y[GAP.stop]
    bridge = [
        a**k * left + a ** (g + 1 - k) * variance(k) / variance(g + 1) * (right - a ** (g + 1) * left)
        for k in range(1, 7)
    ]
    assert found["ds"].to_list() == list(range(500, 506))
    assert np.abs(found["q0.5"].to_numpy() - bridge).mean() < 0.5 * np.abs(forecast - bridge).mean()
    assert (found["effective_paths"] > 5).all()


def test_a_gap_at_the_end_is_a_forecast_and_one_at_the_start_is_left_out(model: C2FAR, walk: np.ndarray) -> None:
    y = walk.copy()
    y[:3] = y[-4:] = np.nan
    found = interpolate(model, frame(y), quantiles=(0.5,), paths=50)
    assert found["ds"].to_list() == list(range(896, 900))
    assert found["effective_paths"].to_list() == pytest.approx([50.0] * 4)


def test_weighted_quantiles() -> None:
    """By hand: of 1, 2, 3 with weights 1/2, 1/4, 1/4 the median is 1, the 0.7 quantile 2."""
    found = weighted_quantiles(np.array([[3.0], [1.0], [2.0]]), np.array([0.25, 0.5, 0.25]), (0.5, 0.7, 0.9))
    assert found[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_nothing_to_fill_is_told(model: C2FAR, walk: np.ndarray) -> None:
    with pytest.raises(ForescaleError, match="nothing to fill"):
        interpolate(model, frame(walk))
    with pytest.raises(ForescaleError, match="after"):
        interpolate(model, frame(walk), after=0)
