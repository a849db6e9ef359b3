"""What the released Step Law sweeps say: covariances, refits and the loss landscape around the optimum.

Every function takes the data folder and returns numbers; nothing is written. Losses are the authors' smoothed final
training losses; batches are tokens (2048 x sequences). A cell is one (N, D), or one (recipe, D) for experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
SEQ_LEN = 2048
NEAR = 0.0025  # the authors' filter: runs within 0.25 % of the cell's lowest loss
SEED = 20250904


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All runs of one workload: log2 learning rate, log2 batch (tokens) and log loss above the cell's lowest."""

    params: float
    active_params: float
    tokens: float
    recipe: str
    lr: Array
    batch: Array
    gap: Array
    loss: float

    @property
    def best(self) -> int:
        """Index of the run with the lowest loss."""
        return int(self.gap.argmin())


def bootstrap_covariances(data: Path) -> tuple[Array, Array]:
    """Covariance of (log coefficient, params, tokens) of lr and of (log coefficient, tokens) of the batch."""
    table = pl.read_csv(data / "step-law" / "1004_fitted_lr_bs_scaling_model_parameters.csv")
    lr = table.select("lr_intercept", "lr_coefN", "lr_coefD").to_numpy()
    batch = table.select("bs_intercept", "bs_coefD").to_numpy()
    return np.cov(lr, rowvar=False), np.cov(batch, rowvar=False)


def cells(data: Path, kind: str) -> list[Cell]:
    """The cells of the `dense` or `moe` sweep, by N, recipe and D."""
    table = pl.read_csv(data / "step-law" / f"{kind}_lr_bs_loss.csv")
    if kind == "dense":
        table = table.with_columns(pl.col("N").alias("Na"), pl.lit("dense").alias("moe_name"))
    keys = ["moe_name", "N", "D"]
    return [_cell(runs) for _, runs in sorted(table.group_by(keys))]


def _cell(runs: pl.DataFrame) -> Cell:
    loss = runs["smooth loss"].to_numpy()
    return Cell(
        params=float(runs["N"][0]),
        active_params=float(runs["Na"][0]),
        tokens=float(runs["D"][0]),
        recipe=str(runs["moe_name"][0]),
        lr=np.log2(runs["lr"].to_numpy()),
        batch=np.log2(SEQ_LEN * runs["bs"].to_numpy()),
        gap=np.log(loss / loss.min()),
        loss=float(loss.min()),
    )


def slices(group: list[Cell], least: float = 0.5) -> tuple[dict[float, float], dict[float, float]]:
    """Median loss gap (%) at offsets along lr (half octaves) and batch (octaves) from each cell's best run.

    Offsets seen in less than the share `least` of the cells are left out: their medians mix different cells.
    """
    along_lr: dict[float, list[float]] = {}
    along_batch: dict[float, list[float]] = {}
    for c in group:
        u, v, percent = c.lr - c.lr[c.best], c.batch - c.batch[c.best], 100 * np.expm1(c.gap)
        for i in np.flatnonzero(np.abs(v) < 0.005):
            along_lr.setdefault(round(2 * u[i]) / 2, []).append(percent[i])
        for i in np.flatnonzero(np.abs(u) < 0.005):
            along_batch.setdefault(float(round(v[i])), []).append(percent[i])
    return _medians(along_lr, least * len(group)), _medians(along_batch, least * len(group))


def _medians(values: dict[float, list[float]], least: float) -> dict[float, float]:
    medians = {k: float(np.median(v)) for k, v in sorted(values.items()) if len(v) >= least}
    return medians | {0.0: 0.0}  # grid steps below half an octave round to 0: the best run itself has no gap


def interaction_and_ridge(group: list[Cell], within: float = 0.02) -> tuple[float, float]:
    """Median over cells of -d2 gap / du dv (% per octave squared) and of d log2 lr* / d log2 B.

    From a quadratic of the log loss in (log2 lr, log2 B), by least squares on the runs within `within` of the best.
    """
    fits = [_quadratic(c, within) for c in group]
    return float(np.median([-100 * f[4] for f in fits])), float(np.median([-f[4] / (2 * f[3]) for f in fits]))


def _quadratic(c: Cell, within: float) -> Array:
    near = np.expm1(c.gap) < within
    u, v = (c.lr - c.lr[c.best])[near], (c.batch - c.batch[c.best])[near]
    design = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    return np.linalg.lstsq(design, c.gap[near])[0]


def dense_points(group: list[Cell]) -> tuple[Array, Array, Array]:
    """Every near-optimal run, as the authors take them: rows (1, ln N, ln D), ln lr, ln B."""
    return _points(group, lambda c: [1.0, np.log(c.params), np.log(c.tokens)], weighted=False)


def pooled_points(group: list[Cell]) -> tuple[Array, Array, Array]:
    """The same with ln (N_active / N) as a fourth column, each cell counting once."""
    share = lambda c: [1.0, np.log(c.params), np.log(c.tokens), np.log(c.active_params / c.params)]  # noqa: E731
    return _points(group, share, weighted=True)


Points = Callable[[list[Cell]], tuple[Array, Array, Array]]


def _points(
    group: list[Cell], features: Callable[[Cell], list[float]], *, weighted: bool
) -> tuple[Array, Array, Array]:
    rows: list[Array] = []
    for c in group:
        near = np.expm1(c.gap) < NEAR
        weight = near.sum() ** -0.5 if weighted else 1.0
        row = np.tile(features(c), (near.sum(), 1))
        rows.append(weight * np.c_[row, c.lr[near] * np.log(2), c.batch[near] * np.log(2)])
    table = np.concatenate(rows)
    return table[:, :-2], table[:, -2], table[:, -1]


def refit(group: list[Cell], points: Points, resamples: int = 2000) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Log-linear coefficients of lr and of the batch, each with its covariance from a bootstrap over cells."""
    X, lr, batch = points(group)
    lr_draws, batch_draws = (np.array(d) for d in zip(*_draws(group, points, resamples), strict=True))
    fits = [np.linalg.lstsq(X, y)[0] for y in (lr, batch)]
    return (fits[0], np.cov(lr_draws, rowvar=False)), (fits[1], np.cov(batch_draws, rowvar=False))


def _draws(group: list[Cell], points: Points, resamples: int) -> Iterator[tuple[Array, Array]]:
    by_cell = [points([c]) for c in group]
    for picked in resampled(len(group), resamples):
        X, lr, batch = (np.concatenate(parts) for parts in zip(*(by_cell[i] for i in picked), strict=True))
        if np.linalg.matrix_rank(X) == X.shape[1]:  # a draw can miss all but one N
            yield np.linalg.lstsq(X, lr)[0], np.linalg.lstsq(X, batch)[0]


def resampled(size: int, resamples: int) -> NDArray[np.int64]:
    """Row indices of a bootstrap: `resamples` rows of `size` draws with replacement, the same on every run."""
    return np.random.default_rng(SEED).integers(0, size, (resamples, size))


def interval95(group: list[Cell], statistic: Callable[[list[Cell]], tuple[float, float]]) -> Array:
    """The 95 % interval of both numbers of a statistic by a bootstrap over cells: rows low and high."""
    draws = [statistic([group[i] for i in picked]) for picked in resampled(len(group), 1000)]
    return np.percentile(np.array(draws), [2.5, 97.5], axis=0)
