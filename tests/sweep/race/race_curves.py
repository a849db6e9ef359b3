"""Curves of known ends: by a published law of loss curves, and real ones from Hägele et al.'s released runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forescale.schedules import Schedule, linear
from forescale.sweep.race import Curve

STEPS = 800


def by_law(
    peak: float, schedule: Schedule | None = None, *, key: str = "", noise: float = 0.0, seed: int = 0, gap: float = 0.0
) -> Curve:
    """A run by the law from which Luo et al. start their fits (arXiv:2503.12811): L0 + A S^-alpha - B (peak rate - rate).

    Its constants are not those of the forecast: what is lost to a high rate is linear in it, and alpha is 0.4. Here the
    peak's own cost is B times it. `gap` is a loss gap of the run's own; the noise of its batches is that of `seed`.
    """
    schedule = schedule or linear(0.05)
    progress = (np.arange(STEPS) + 1) / STEPS
    rate = peak * np.array([schedule(p) for p in progress - 0.5 / STEPS])
    loss = (2.6 + 0.35 * (0.02 + np.cumsum(rate)) ** -0.4 + 30 * rate) * (1 + gap)
    wobble = noise * np.random.default_rng(seed).standard_normal(STEPS)
    return Curve(
        key=key or f"{peak:g}",
        settings={"learning_rate": peak},
        progress=progress,
        loss=loss * np.exp(wobble),
        rate=rate,
        seed=seed,
        end=float(loss[-1]),
    )


def hagele(folder: Path, steps: int) -> list[Curve]:
    """The 124M runs of this length that were not resumed from another: cosine, and linear decay from the start."""
    rows = pl.read_csv(folder / "lr-scheduling-hagele" / "runs.csv").filter(
        n_layer=12, n_embd=768, dataset="slimpajama", iterations=steps, resumed=False
    )
    losses = pl.read_csv(folder / "lr-scheduling-hagele" / "curves.csv.gz").filter(split="train")
    return [hagele_curve(row, losses.filter(run_idx=row["run_idx"]).sort("step"), steps) for row in rows.to_dicts()]


def hagele_curve(row: dict[str, Any], losses: pl.DataFrame, steps: int) -> Curve:
    progress = np.minimum(losses["step"].to_numpy() / steps, 1.0)
    return Curve(
        key=str(row["run_idx"]),
        settings={"learning_rate": row["peak_lr"]},
        progress=progress,
        loss=losses["loss"].to_numpy(),
        rate=np.interp((np.arange(512) + 0.5) / 512, progress, losses["lr"].to_numpy()),
        end=row["final_val_loss"],
    )


def mean_near(curve: Curve, share: float) -> float:
    """The mean loss around this share of the run."""
    return float(curve.loss[np.abs(curve.progress - share) < 0.02].mean())


def ends(curves: Sequence[Curve]) -> list[float]:
    return [curve.end for curve in curves if curve.end is not None]
