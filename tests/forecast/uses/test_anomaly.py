"""Surprises in bits: their law where the model is right, and a planted fault."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from forescale import ForescaleError
from forescale.forecast import C2FAR, Training
from forescale.forecast.uses import anomalies, excesses
from forescale.forecast.uses._anomaly import surprise


@pytest.fixture(scope="module")
def noise() -> pl.DataFrame:
    return pl.DataFrame({"ds": range(900), "y": np.random.default_rng(3).normal(size=900)})


@pytest.fixture(scope="module")
def model(noise: pl.DataFrame) -> C2FAR:
    options = {"horizon": 12, "context": 12, "span": 96, "hidden": 8, "lags": (), "law": "normal"}
    return C2FAR(training=Training(steps=120, batch=64, learning_rate=1e-2), **options).fit(noise, progress=False)


def test_bits_of_known_shares() -> None:
    """A value beyond 1/8 of the law on its side: 2/8 on both, 2 bits."""
    assert surprise(np.array([0.5, 0.125, 0.875])) == pytest.approx([0, 2, 2])
    assert math.isnan(surprise(np.array([math.nan]))[0])


def test_under_a_right_law_s_bits_come_with_probability_2_to_the_minus_s(model: C2FAR, noise: pl.DataFrame) -> None:
    score = anomalies(model, noise)["score"].drop_nulls().to_numpy()
    for bits in (1, 2, 3):
        spread = math.sqrt(2.0**-bits * (1 - 2.0**-bits) / len(score))
        assert (score > bits).mean() == pytest.approx(2.0**-bits, abs=4 * spread + 0.02)


def test_a_planted_jump_stands_out(model: C2FAR, noise: pl.DataFrame) -> None:
    y = noise["y"].to_numpy().copy()
    y[700] = 12.0
    found = anomalies(model, noise.with_columns(y=pl.Series(y)))
    assert found["ds"][found["score"].arg_max()] == 700  # type: ignore[index]
    assert found.columns == ["ds", "y", "score"]


def test_memory_is_the_mean_of_the_last_scores(model: C2FAR, noise: pl.DataFrame) -> None:
    one = anomalies(model, noise)["score"].to_numpy()
    five = anomalies(model, noise, memory=5)["score"].to_numpy()
    assert five[-1] == pytest.approx(one[-5:].mean())
    with pytest.raises(ForescaleError, match="memory"):
        anomalies(model, noise, memory=0)


def test_what_lies_beyond_all_earlier_values_is_told_from_what_lies_farther() -> None:
    """Calibrated scores of exponential values: an excess of x mean excesses has a probability of e^-x / 100."""
    scores = np.random.default_rng(0).exponential(3.0, 20_000)
    found = excesses(scores)
    assert np.isnan(found[:50]).all()
    for least in (1, 2):
        assert (found[2000:] > least).mean() == pytest.approx(0.01 * math.exp(-least), rel=0.25)


def test_calibrated_scores_do_not_depend_on_the_unit() -> None:
    scores = np.r_[np.random.default_rng(1).normal(size=400), 9.0]
    assert excesses(1e6 * scores)[50:] == pytest.approx(excesses(scores)[50:])
    assert np.nanargmax(excesses(scores)) == 400


def test_calibrated_scores_read_only_the_past() -> None:
    scores = np.random.default_rng(2).normal(size=300)
    assert excesses(scores)[50:200] == pytest.approx(excesses(scores[:200])[50:])


def test_a_long_span_finds_a_value_beyond_all_earlier_ones(model: C2FAR, noise: pl.DataFrame) -> None:
    """A jump that is usual in windows of a noisy hour, and nowhere else; the noise before it is ten times smaller."""
    y = noise["y"].to_numpy() * np.r_[np.full(600, 0.1), np.ones(300)]
    y[850] = 6.0
    data = noise.with_columns(y=pl.Series(y))
    for span in (None, 800):
        found = anomalies(model, data, span=span, calibrated=True).drop_nulls()
        assert found.filter(pl.col("ds") > 700)["score"].arg_max() == found.filter(pl.col("ds") > 700)["ds"].index_of(
            850
        )
    with pytest.raises(ForescaleError, match="span"):
        anomalies(model, data, span=1)
