"""Sweeps with a known law, for the tests of fitting."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

SIZES = (1e8, 2e8, 4e8, 8e8)
RATIOS = (20.0, 60.0)
LR, BATCH = (30.0, -0.75, 0.25), (2.0, -0.2, 0.6)
COLUMNS = ["params", "tokens", "learning_rate", "batch_tokens", "loss"]


def optimum(params: float, tokens: float) -> tuple[float, float]:
    """Learning rate and batch of the planted law."""
    return tuple(c * params**a * tokens**b for c, a, b in (LR, BATCH))  # type: ignore[return-value]


def planted(
    sizes: tuple[float, ...] = SIZES,
    ratios: tuple[float, ...] = RATIOS,
    *,
    noise: float = 0.0,
    seed: int = 0,
    centred: bool = True,
) -> pl.DataFrame:
    """Bowls in (ln lr, ln batch) around the planted law; the grid lies on each optimum, or is one for all cells."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for params in sizes:
        for tokens in (params * r for r in ratios):
            best = optimum(params, tokens)
            middle = best if centred else optimum(2e8, 8e9)
            for i in range(-4, 5):
                for j in range(-3, 4):
                    lr, batch = middle[0] * 2 ** (i / 2), middle[1] * 2**j
                    u, v = math.log2(lr / best[0]), math.log2(batch / best[1])
                    gap = 0.003 * u * u + 0.003 * v * v - 0.002 * u * v + noise * rng.normal()
                    rows.append((params, tokens, lr, batch, 3 * (params / 1e8) ** -0.05 * math.exp(gap)))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
