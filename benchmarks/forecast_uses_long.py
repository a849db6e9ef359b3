"""Errors by how far ahead: SutraNets against the plain model on five-minute demand, a day ahead, in the published windows."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import harness
from forecast_uses_data import azure, frame
from forescale.forecast import C2FAR, SutraNet, Training

DAY, WEEK = 288, 2016  # five-minute steps
WINDOWS, PATHS = 4, 50
STEPS = 240  # of a SutraNet's training: what two cores can do
MORE_STEPS = 870  # of the plain model: .15 seconds a step against .55, so at least a SutraNet's CPU time
OPTIONS: dict[str, Any] = {
    "horizon": DAY, "context": WEEK, "bins": (12, 12, 12), "low": -0.08, "high": 1.2, "network": "shared", "hidden": 32,
    "lags": (), "calendar": False,
}  # fmt: skip


def sutranets() -> dict[str, Any]:
    """Small models on 24 series: the plain model with as many steps as the SutraNets, and with their CPU time or more."""
    data = frame(azure())
    models = {
        "plain, equal steps": C2FAR(training=_training(STEPS), span=WEEK, **OPTIONS),
        "plain, more steps": C2FAR(training=_training(MORE_STEPS), span=WEEK, **OPTIONS),
        "backfill, alternating": SutraNet(training=_training(STEPS), **OPTIONS),
        "regular, alternating": SutraNet(training=_training(STEPS), order="regular", **OPTIONS),
    }
    found = {name: _ahead(model, data, name) for name, model in models.items()}
    naive = {f"the value {name} before": _repeated(back) for name, back in (("a day", DAY), ("a week", WEEK))}
    return {"context": WEEK, "horizon": DAY, "windows": WINDOWS, "paths": PATHS, "models": found, "naive_nd": naive}


def _training(steps: int) -> Training:
    return Training(steps=steps, batch=16, learning_rate=5e-3, checks=5)


def _ahead(model: C2FAR, data: Any, name: str) -> dict[str, Any]:
    found: list[Any] = []
    seconds = harness.call_cpu_seconds(lambda: found.append(model.backtest(data, windows=WINDOWS, paths=PATHS)))
    assert model.fitted is not None
    print(name, f"{seconds:.0f} CPU seconds", file=sys.stderr, flush=True)
    return {
        "parameters": model.parameters,
        "steps": model.fitted.steps,
        "best_step": model.fitted.best_step,
        "validation_nats": model.fitted.loss,
        "cpu_seconds": round(seconds, 1),
        **errors_ahead(found[0].y, found[0].paths),
    }


def errors_ahead(y: np.ndarray[Any, Any], paths: np.ndarray[Any, Any]) -> dict[str, Any]:
    """By blocks of four hours and by hours: y [series, windows, day], paths [series, windows, paths, day].

    ND of the median, and coverage and mean width of the 80 % interval, the width as a share of the mean value.
    """
    low, median, high = np.quantile(paths, (0.1, 0.5, 0.9), axis=2)
    error, level = np.abs(y - median), np.abs(y)
    inside, width = (y >= low) & (y <= high), high - low

    def ratio(above: np.ndarray[Any, Any], below: np.ndarray[Any, Any], blocks: int) -> list[float]:
        sums = [each.reshape(-1, blocks, DAY // blocks).sum((0, 2)) for each in (above, below)]
        return (sums[0] / sums[1]).round(5).tolist()

    blocks = ratio(error, level, 6)
    return {
        "nd": ratio(error, level, 1)[0],
        "nd_by_four_hours": blocks,
        "nd_by_hour": ratio(error, level, 24),
        "growth": round(blocks[-1] / blocks[0], 3),
        "coverage_80": ratio(inside, np.ones_like(y), 1)[0],
        "coverage_80_by_four_hours": ratio(inside, np.ones_like(y), 6),
        "width_80_by_four_hours": ratio(width, level, 6),
    }


def _repeated(back: int) -> float:
    """ND of a forecast that repeats what was that many steps before."""
    y = np.stack([each[-WINDOWS * DAY :] for each in azure()])
    before = np.stack([each[-WINDOWS * DAY - back : -back or None][: WINDOWS * DAY] for each in azure()])
    return round(float(np.abs(y - before).sum() / np.abs(y).sum()), 5)
