"""Smoothing of curves: the formula of Step Law's log analysis, and its limits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from forescale.errors import ForescaleError
from forescale.runs import final_loss


def by_weights(losses: list[float], sigma: float) -> float:
    """The last value of a Gaussian filter, written as a weighted mean over a mirrored curve."""
    radius = int(4 * sigma + 0.5)
    mirrored = np.array([*losses, *losses[::-1]])
    centre, offsets = len(losses) - 1, np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return float(np.dot(weights, mirrored[centre + offsets]) / weights.sum())


@pytest.mark.parametrize(("rows", "interval"), [(500, 1), (2000, 1), (2000, 10), (20_000, 1), (300, 2)])
def test_the_width_is_that_of_step_law(rows: int, interval: int) -> None:
    # facts: sigma = min(100, 1 % of the log rows) / log interval.
    noise = np.random.default_rng(0).normal(0, 0.1, rows)
    losses = [3 + 2 / (1 + i) + e for i, e in enumerate(noise)]
    sigma = min(100, 0.01 * rows) / interval
    steps = [interval * i for i in range(rows)]
    assert final_loss(losses, steps) == pytest.approx(by_weights(losses, sigma), rel=1e-12)
    assert final_loss(losses, steps) == pytest.approx(float(gaussian_filter1d(np.array(losses), sigma)[-1]), rel=1e-12)


def test_on_a_real_log_it_takes_the_noise_out(data: Path) -> None:
    # 19,560 steps of a GPT-2 run: the smoothed end agrees with the mean of the last 200 steps, the raw one need not.
    frame = pl.read_csv(data / "training-telemetry/2024-10-13_llmc_gpt2-124m.csv.gz").drop_nulls("loss")
    losses = frame["loss"].to_list()
    tail = np.array(losses[-200:])
    error = tail.std() / math.sqrt(200)
    assert final_loss(losses, frame["step"].to_list()) == pytest.approx(tail.mean(), abs=4 * error)


@given(st.floats(0.5, 12), st.integers(1, 3000))
def test_a_flat_curve_keeps_its_level(level: float, rows: int) -> None:
    assert final_loss([level] * rows) == pytest.approx(level, rel=1e-12)


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=400))
def test_the_result_lies_within_the_curve(losses: list[float]) -> None:
    assert min(losses) - 1e-9 <= final_loss(losses) <= max(losses) + 1e-9


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf])
def test_a_curve_that_ends_badly_has_diverged(end: float) -> None:
    assert final_loss([3.0, 2.9, end]) == math.inf
    assert final_loss([3.0, end, 2.9]) == pytest.approx(2.9, abs=1e-6)  # it came back


def test_bad_curves() -> None:
    with pytest.raises(ForescaleError, match="needs rows"):
        final_loss([])
    with pytest.raises(ForescaleError, match="one step for each"):
        final_loss([3.0, 2.0], [1])
