"""The stability edge: the learning rate from which a run diverges, a power law with a soft side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.fit.surface._model import Array

# Means and deviations of ln edge over the reference rate, its exponents of batch, parameters and tokens, and ln width:
# rounded from a logistic regression on the released Step Law cells (130 of 1,508 runs diverged).
PRIOR = ((1.9, 1.0), (-0.1, 0.2), (-0.4, 0.2), (0.2, 0.2), (-2.0, 0.5))
DIVERGED_LEVEL = 1.03  # ln of a diverged run's loss over the lowest of its cell: the median of those runs
MOST = 30.0  # of a logit


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Half of the runs at a learning rate of exp(`constant`) B^b N^n D^d reference units diverge; `width` is in ln lr."""

    constant: float
    batch_tokens: float
    params: float
    tokens: float
    width: float
    log_level: float  # ln of a diverged run's loss over the best loss of its workload
    diverged: int  # runs that it was learnt from

    def log_rate(self, points: Array) -> Array:
        """Logarithm of the learning rate at the edge, in reference units, at points (5, n)."""
        _, y, n, d, _ = points
        return self.constant + self.batch_tokens * y + self.params * n + self.tokens * d

    def probability(self, points: Array) -> Array:
        """The share of runs at these points (5, n) that diverge."""
        import numpy as np

        return 1 / (1 + np.exp(np.clip((self.log_rate(points) - points[0]) / self.width, -MOST, MOST)))


def fit_edge(points: Array, diverged: NDArray[np.bool_], log_gap: Array) -> Edge:
    """The most probable edge given which runs (n,) diverged; with none, the prior moved beyond every rate tried."""
    import numpy as np
    from scipy.optimize import minimize

    mean, spread = np.array(PRIOR).T
    inputs = np.stack([np.ones(points.shape[1]), *points[1:4]])

    def cost(p: Array) -> tuple[float, Array]:
        width = np.exp(p[4])
        logit = np.clip((points[0] - p[:4] @ inputs) / width, -MOST, MOST)
        pull = 1 / (1 + np.exp(-logit)) - diverged
        deviation = (p - mean) / spread
        slope = np.concatenate([-inputs @ pull / width, [-(pull * logit).sum()]])
        total = np.logaddexp(0, logit).sum() - logit[diverged].sum() + (deviation**2).sum() / 2
        return float(total), slope + deviation / spread

    found: Any = minimize(cost, mean, jac=True, method="L-BFGS-B")
    seen = log_gap[diverged & np.isfinite(log_gap)]
    constant, batch, params, tokens, width = (float(v) for v in found.x)
    return Edge(
        constant=constant,
        batch_tokens=batch,
        params=params,
        tokens=tokens,
        width=float(np.exp(width)),
        log_level=float(np.median(seen)) if len(seen) else DIVERGED_LEVEL,
        diverged=int(diverged.sum()),
    )
