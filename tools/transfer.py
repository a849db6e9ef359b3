"""How far the catalog's laws are from other labs' measurements, in octaves (log2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forescale.laws import Law, law, names

Array = NDArray[np.float64]
LINGLE = Path(__file__).with_name("lingle_optima.csv")
OPTIMA = "18 (N, D) optima of another lab (Lingle, part III: N 46M to 2.9B, D 0.13B to 1.0B)"
INPUTS = {"params", "tokens", "compute", "flops_per_token", "tokens_per_param", "active_share", "loss"}
IN_SAMPLE = {"lingle"}  # fitted on these optima: no transfer to measure


def lingle() -> pl.DataFrame:
    """Lingle's measured optima."""
    return pl.read_csv(LINGLE, comment_prefix="#").cast(pl.Float64)


def lingle_fit() -> dict[str, tuple[Array, Array]]:
    """Least squares of the logarithms of lr and batch on (1, ln N, ln D): coefficients and their covariance."""
    table = lingle()
    X = np.c_[np.ones(len(table)), table.select("params", "tokens").to_numpy()]
    X[:, 1:] = np.log(X[:, 1:])
    return {q: _least_squares(X, np.log(table[q].to_numpy())) for q in ("learning_rate", "batch_tokens")}


def _least_squares(X: Array, y: Array) -> tuple[Array, Array]:
    theta, rss, *_ = np.linalg.lstsq(X, y)
    return theta, np.linalg.inv(X.T @ X) * float(rss[0]) / (len(y) - X.shape[1])


def hyperparameter_transfer() -> Iterator[tuple[Law, str, float, float, str]]:
    """(law, quantity, octaves rms, bias factor, what it was measured on) of every law that these optima can judge."""
    table = lingle()
    x = _variables(table)
    for name in sorted(set(names()) - IN_SAMPLE):
        judged = law(name)
        for quantity in ("learning_rate", "batch_tokens"):
            if quantity not in judged.predicts or not set(judged.formula(quantity).inputs) <= INPUTS:
                continue
            octaves = np.log2(judged.predict(quantity, **x) / table[quantity].to_numpy())
            bias = float(2 ** octaves.mean())
            yield judged, quantity, float(np.sqrt((octaves**2).mean())), bias, _measured_on(judged, quantity, bias)


def _variables(table: pl.DataFrame) -> dict[str, Any]:
    N, D, L = (table[c].to_numpy() for c in ("params", "tokens", "loss"))
    return {
        "params": N,
        "tokens": D,
        "tokens_per_param": D / N,
        "flops_per_token": 6 * N,
        "compute": 6 * N * D,
        "active_share": np.ones_like(N),
        "loss": L,
    }


def _measured_on(judged: Law, quantity: str, bias: float) -> str:
    inputs = judged.formula(quantity).inputs
    remarks = [
        "dense models only" if judged.experts == "moe" else "",
        "C = 6 N D" if "compute" in inputs else "",
        "N without the head" if judged.params_means == "non-vocabulary and head" else "",
        "given the measured loss" if "loss" in inputs else "",
    ]
    return "; ".join([OPTIMA, *(r for r in remarks if r), f"bias x{bias:.2f}"])
