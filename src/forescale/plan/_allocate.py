"""Split a compute budget into parameters and tokens by a loss law."""

from __future__ import annotations

import math
from collections.abc import Callable

from forescale.errors import ForescaleError
from forescale.laws import Law
from forescale.quantities import positive

GOLDEN = (math.sqrt(5) - 1) / 2


def allocate(
    compute: float, law: Law, *, sparsity: float = 0.0, unique_tokens: float | None = None
) -> tuple[float, float]:
    """Params and tokens with 6 N D = `compute` FLOPs that minimise the law's loss; any loss law of N and D.

    Golden-section search in log N over D / N from 1e-3 to 1e6; raises `ForescaleError` where the minimum lies at an end
    (the law has no compute-optimal split). Chinchilla's closed form (2203.15556, Eq. 4) is the test's second method.
    """
    positive(compute, "compute")
    if "loss" not in law.predicts:
        raise ForescaleError(f"--compute needs a loss law to split it; {law.name} predicts {', '.join(law.predicts)}.")

    def loss(log_params: float) -> float:
        params = math.exp(log_params)
        tokens = compute / (6 * params)
        unique = tokens if unique_tokens is None else min(unique_tokens, tokens)
        x = {"params": params, "tokens": tokens, "unique_tokens": unique, "compute": compute}
        return float(law.predict("loss", **x, sparsity=sparsity, nonzero_params=params * (1 - sparsity)))

    low, high = (0.5 * math.log(compute / (6 * ratio)) for ratio in (1e6, 1e-3))
    best = _minimise(loss, low, high)
    if min(best - low, high - best) < 1e-3:
        raise ForescaleError(
            f"law {law.name} has no compute-optimal split of {compute:.3g} FLOPs: give --params and --tokens instead."
        )
    params = math.exp(best)
    return params, compute / (6 * params)


def _minimise(f: Callable[[float], float], low: float, high: float) -> float:
    a, b = low, high
    c, d = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
    fc, fd = f(c), f(d)
    for _ in range(90):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - GOLDEN * (b - a)
            fc = f(c)
        else:
            a, c, fc = c, d, fd
            d = a + GOLDEN * (b - a)
            fd = f(d)
    return (a + b) / 2
