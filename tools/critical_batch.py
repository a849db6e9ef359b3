"""The critical batch from the steps that Zhang et al.'s runs needed to one loss: a power law of the tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SEQUENCE = 512  # tokens


def optima(data: Path) -> Any:
    """One row a model size: ln D_min and ln B_crit in tokens, from D_B = D_min (1 + B / B_crit), relative errors.

    Dividing by B gives steps = a + b / B, which is linear: D_min = 512 b and B_crit = 512 b / a.
    """
    table = pl.read_csv(data / "critical-batch-size" / "steps_to_goal.csv")
    rows: list[Any] = []
    for size in table["model_size"].unique(maintain_order=True):
        runs = table.filter(model_size=size)
        batch, steps = (runs[name].to_numpy() for name in ("batch_size_sequences", "steps_to_goal"))
        design = np.stack([np.ones_like(steps), 1 / batch], axis=1)
        a, b = np.linalg.lstsq(design / steps[:, None], np.ones_like(steps))[0]
        rows.append(np.log([SEQUENCE * b, SEQUENCE * b / a]))
    return np.array(rows)


def fit(data: Path) -> tuple[Any, Any]:
    """Logarithm of the coefficient, and exponent, of B_crit = c D_min^e by least squares, with their covariance."""
    found = optima(data)
    design = np.stack([np.ones(len(found)), found[:, 0]], axis=1)
    theta = np.linalg.lstsq(design, found[:, 1])[0]
    residuals = found[:, 1] - design @ theta
    variance = residuals @ residuals / (len(found) - 2)
    return theta, variance * np.linalg.inv(design.T @ design)
