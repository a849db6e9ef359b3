"""Scores of sample paths, pooled over all points or a series at a time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from forescale.errors import ForescaleError, MissingExtraError

DECILES = np.arange(1, 10) / 10
SHARES = np.array([*DECILES, 0.25, 0.75])


def scores(paths: Any, y: Any) -> dict[str, float]:
    """Accuracy and calibration of paths [series, ..., paths, horizon] for values y [series, ..., horizon]; NaN is left out.

    nd: absolute error of the median over the sum of |y|. wql: mean over the nine deciles of twice the pinball loss, over
    the same sum. crps: its limit for all quantiles, from all pairs of paths, unbiased (Gneiting & Raftery 2007, eq. 21).
    coverage_80 and coverage_50: share of values inside the central interval, which is the level where the law is right.
    The names that end in _macro are the mean over series of each series' own ratio, where its sum is not 0.
    """
    paths, y = np.asarray(paths, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if paths.shape[:-2] != y.shape[:-1] or paths.shape[-1] != y.shape[-1] or y.ndim < 2:
        raise ForescaleError(
            f"paths [series, ..., paths, horizon] must match values [series, ..., horizon]; got {paths.shape} and {y.shape}."
        )
    seen = np.isfinite(y)
    if not np.abs(y[seen]).any():
        raise ForescaleError(
            f"scores are shares of the sum of |y|, which must be above 0; got {int(seen.sum())} observed values, all 0: give "
            "others."
        )
    if not np.isfinite(paths).all():
        raise ForescaleError("paths must be finite; some are NaN or infinite: leave those series out.")
    truth = np.where(seen, y, 0.0)
    quantiles = np.quantile(paths, SHARES, axis=-2)
    pinball = _rules().quantile_score
    losses = {
        "nd": np.abs(truth - quantiles[4]),
        "wql": np.mean([2 * pinball(truth, q, tau) for q, tau in zip(quantiles, DECILES, strict=False)], axis=0),
        "crps": crps(paths, truth),
    }
    size = np.abs(truth) * seen
    made = {name: float((each * seen).sum() / size.sum()) for name, each in losses.items()}
    made["coverage_80"] = _inside(truth, quantiles[0], quantiles[8], seen)
    made["coverage_50"] = _inside(truth, quantiles[9], quantiles[10], seen)
    each_size = size.reshape(len(size), -1).sum(1)
    for name, each in losses.items():
        sums = (each * seen).reshape(len(size), -1).sum(1)[each_size > 0]
        made[f"{name}_macro"] = float((sums / each_size[each_size > 0]).mean())
    return made


def crps(paths: Any, y: Any) -> Any:
    """E|X - y| - E|X - X'| / 2 over the paths [..., paths, horizon], each value of y [..., horizon] by itself.

    From probability weighted moments: the same number as over all pairs, in the memory of a sorted copy.
    """
    paths, y = np.asarray(paths, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if paths.shape[-2] == 1:
        return np.abs(paths[..., 0, :] - y)
    return _rules().crps_ensemble(y, paths, m_axis=-2, estimator="pwm", backend="numpy")


def _rules() -> Any:
    try:
        return import_module("scoringrules")
    except ImportError as error:
        raise MissingExtraError("scores need scoringrules: pip install 'forescale[train]'.") from error


def _inside(y: Any, low: Any, high: Any, seen: Any) -> float:
    return float(((low <= y) & (y <= high))[seen].mean())
