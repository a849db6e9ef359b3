"""Moved paths against the closed form of an AR(1)'s bridge, to sides that plain forecasts do not reach."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forescale.forecast import C2FAR, Training
from forescale.forecast._frames import read_panel
from forescale.forecast._likelihood import window_log_probs
from forescale.forecast._series import Panel
from forescale.forecast._windows import Cutter
from forescale.forecast.uses._bridge import bridged, worth_of
from forescale.forecast.uses._sided import SidedDraw

A, GAP = 0.9, 12


def variance(steps: int) -> float:
    """So many steps ahead, in units of a step's."""
    return (1 - A ** (2 * steps)) / (1 - A**2)


def walks(right: float) -> Any:
    """An AR(1) from 0 on, and the likelihood of the value after it."""

    def draw(normal: torch.Tensor) -> tuple[Any, Any]:
        x, steps = np.zeros(normal.shape), normal.numpy().astype(float)
        for t in range(GAP):
            x[:, t] = (A * x[:, t - 1] if t else 0.0) + steps[:, t]
        return x, -0.5 * (right - A * x[:, -1]) ** 2

    return draw


@pytest.mark.parametrize("deviations", [0.0, 3.0, 5.0])
def test_paths_follow_the_bridge(deviations: float) -> None:
    """Mean a^(g+1-k) V_k / V_(g+1) x, variance V_k (1 - a^(2(g+1-k)) V_k / V_(g+1)) at step k of g."""
    right = deviations * math.sqrt(variance(GAP + 1))
    draw = walks(right)
    normal = torch.randn(1000, GAP, generator=torch.Generator().manual_seed(0))
    paths, weights = bridged(draw, normal, np.random.default_rng(0))
    steps = np.arange(1, GAP + 1)
    gain = A ** (GAP + 1 - steps) * np.array([variance(k) for k in steps]) / variance(GAP + 1)
    spread = np.sqrt([variance(k) * (1 - A ** (GAP + 1 - k) * gain[k - 1]) for k in steps])
    mean = weights @ paths
    assert weights.sum() == pytest.approx(1)
    assert mean == pytest.approx(gain * right, abs=0.35 * spread.max())
    assert np.sqrt(weights @ (paths - mean) ** 2) == pytest.approx(spread, rel=0.2)
    assert worth_of(weights) > 100


def test_weights_alone_would_not_do() -> None:
    """The plain forecasts of the same draw, weighted: one path."""
    draw = walks(5 * math.sqrt(variance(GAP + 1)))
    _, likely = draw(torch.randn(1000, GAP, generator=torch.Generator().manual_seed(0)))
    weight = np.exp(likely - likely.max())
    assert worth_of(weight / weight.sum()) < 5


@pytest.mark.parametrize(
    "options",
    [
        {"lags": (5,), "bins": (6, 4)},
        {"lags": (), "bins": (6, 4), "network": "separate"},
        {"lags": (5,), "law": "normal"},
    ],
)
def test_one_pass_gives_the_likelihood_of_what_follows(options: dict[str, Any]) -> None:
    """Against the teacher-forced likelihood of each path between its sides; a value that is missing there counts nothing."""
    y = np.random.default_rng(0).normal(size=120).cumsum()
    whole = pl.DataFrame({"ds": range(120), "y": y})
    model = C2FAR(training=Training(steps=3, batch=4), horizon=6, context=8, span=20, hidden=4, **options)
    model.fit(whole, progress=False)
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    panel, _ = read_panel(whole)
    after = y[84:90].copy()
    after[5] = np.nan
    windows = model._cut(panel.until([80]), [0], [80], 10)  # pyright: ignore[reportPrivateUsage]
    drawn, likely = SidedDraw(network, windows, after)(torch.randn(5, 4))
    for path, each in zip(drawn, likely, strict=True):
        filled = Panel(ids=(0,), first=(0,), values=(np.r_[y[:80], path, after],), step=panel.step)
        cut = Cutter(filled, dataclasses.replace(layout, horizon=10), ahead=10).cut(
            torch.tensor([0]), torch.tensor([80])
        )
        in_own_unit = window_log_probs(network, cut)[0][0, 4:9].sum() + 5 * math.log(float(cut.unit[0]))
        assert each == pytest.approx(in_own_unit, rel=1e-4)
