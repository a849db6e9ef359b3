"""A sweep whose losses come from a surface written down here, apart from the package's own formula."""

from __future__ import annotations

from math import exp, log

import numpy as np
import polars as pl

from forescale.runs import Runs, read_runs

SIZES, RATIOS = (1e8, 2e8, 4e8, 8e8), (20.0, 60.0, 180.0)
LEVEL = {"E": 1.6, "A": 420.0, "alpha": 0.42, "B": 9000.0, "beta": 0.43, "k": 0.65}
RATE, BATCH = (1.5, -0.62, 0.27), (0.9, -0.08, 0.58)
# weight, along ln lr, along ln B; the gap flattens beyond `MOST`
TERMS = ((0.005, 1.5, -0.4), (0.0004, -1.1, 1.4), (0.012, 0.5, -0.9), (0.004, 0.8, 0.7))
MOST = 0.12


def optimum(params: float, tokens: float) -> tuple[float, float]:
    """Learning rate and batch of the planted power laws."""
    rate, batch = (c * params**a * tokens**b for c, a, b in (RATE, BATCH))
    return rate, batch


def lowest(params: float, tokens: float) -> float:
    """The planted lowest loss."""
    c = LEVEL
    return c["E"] + (c["A"] * params ** -c["alpha"] + c["B"] * tokens ** -c["beta"]) ** c["k"]


def gap(u: float, v: float) -> float:
    """The planted ln(1 + loss gap) at offsets in ln lr and ln B."""
    g = sum(w * (exp(a * u + b * v) - 1 - a * u - b * v) for w, a, b in TERMS)
    return MOST * log(1 + g / MOST)


def planted(
    *,
    noise: float = 0.0,
    seed: int = 0,
    sizes: tuple[float, ...] = SIZES,
    ratios: tuple[float, ...] = RATIOS,
    rates: int = 9,
    batches: int = 5,
) -> pl.DataFrame:
    """A grid of `rates` by `batches` around published-looking optima in every cell, runs repeat within `noise` of ln loss."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for params in sizes:
        for tokens in (params * ratio for ratio in ratios):
            best = optimum(params, tokens)
            for i in range(rates):
                for j in range(batches):
                    u, v = (i - rates // 2) * log(2) / 2, (j - batches // 2) * log(2)
                    loss = lowest(params, tokens) * exp(gap(u, v) + noise * rng.normal())
                    rows.append((params, tokens, best[0] * exp(u), best[1] * exp(v), loss))
    return pl.DataFrame(rows, schema=["params", "tokens", "learning_rate", "batch_tokens", "loss"], orient="row")


def planted_runs(**more: object) -> Runs:
    return read_runs(planted(**more))  # type: ignore[arg-type]
