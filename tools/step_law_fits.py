"""What the released Step Law sweeps say: covariances, refits and the loss landscape around the optimum.

Every function takes the data folder or cells and returns numbers; nothing is written. Losses are the authors' smoothed
final training losses; batches are tokens (2048 x sequences). A cell is one (N, D), or one (recipe, D) for experts. The
fits themselves are the package's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forescale.fit import Cell, interaction_and_ridge, slices
from forescale.fit._optima import near_points
from forescale.fit._regression import regression, resample_counts

__all__ = ["bootstrap_covariances", "cells", "interaction_and_ridge", "interval95", "refit", "resampled", "slices"]

Array = NDArray[np.float64]
Power = tuple[Array, Array]  # (log coefficient, exponents) and their covariance
SEQ_LEN = 2048
SEED = 20250904


def bootstrap_covariances(data: Path) -> tuple[Array, Array]:
    """Covariance of (log coefficient, params, tokens) of lr and of (log coefficient, tokens) of the batch."""
    table = pl.read_csv(data / "step-law" / "1004_fitted_lr_bs_scaling_model_parameters.csv")
    lr = table.select("lr_intercept", "lr_coefN", "lr_coefD").to_numpy()
    batch = table.select("bs_intercept", "bs_coefD").to_numpy()
    return np.cov(lr, rowvar=False), np.cov(batch, rowvar=False)


def cells(data: Path, kind: str) -> list[Cell]:
    """The cells of the `dense` or `moe` sweep, by recipe, N and D."""
    table = pl.read_csv(data / "step-law" / f"{kind}_lr_bs_loss.csv")
    if kind == "dense":
        table = table.with_columns(pl.col("N").alias("Na"), pl.lit("dense").alias("moe_name"))
    keys = ["moe_name", "N", "D"]
    return [_cell(runs) for _, runs in sorted(table.group_by(keys))]


def _cell(runs: pl.DataFrame) -> Cell:
    return Cell(
        params=float(runs["N"][0]),
        active_params=float(runs["Na"][0]),
        tokens=float(runs["D"][0]),
        seq_len=SEQ_LEN,
        points=np.log(np.stack([runs["lr"].to_numpy(), SEQ_LEN * runs["bs"].to_numpy()], axis=1)),
        log_loss=np.log(runs["smooth loss"].to_numpy()),
    )


def refit(group: list[Cell], *, pooled: bool = False, resamples: int = 2000) -> tuple[Power, Power]:
    """Log-linear coefficients of lr and of the batch, each with its covariance from a bootstrap over cells.

    Every near-optimal run counts, as the authors have it; `pooled` counts every cell once and adds ln (N_active / N).
    """
    points = near_points(group)
    features = np.log([[c.params, c.tokens, c.active_params / c.params] for c in group])[:, : 3 if pooled else 2]
    every = range(features.shape[1])
    fits = regression(
        features[points.cell],
        points.at,
        [every, every],
        weights=1 / np.bincount(points.cell)[points.cell] if pooled else None,
        groups=points.cell,
    )
    thetas, draws = fits.solve(np.ones((1, len(group)))), fits.solve(resample_counts(len(group), resamples, SEED))
    lr, batch = ((t[0], np.cov(d[np.isfinite(d).all(1)], rowvar=False)) for t, d in zip(thetas, draws, strict=True))
    return lr, batch


def resampled(size: int, resamples: int) -> NDArray[np.int64]:
    """Row indices of a bootstrap: `resamples` rows of `size` draws with replacement, the same on every run."""
    return np.random.default_rng(SEED).integers(0, size, (resamples, size))


def interval95(group: list[Cell], statistic: Callable[[list[Cell]], tuple[float, float]]) -> Array:
    """The 95 % interval of both numbers of a statistic by a bootstrap over cells: rows low and high."""
    draws = [statistic([group[i] for i in picked]) for picked in resampled(len(group), 1000)]
    return np.percentile(np.array(draws), [2.5, 97.5], axis=0)
