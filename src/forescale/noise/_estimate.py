"""From squared norms to the gradient noise scale, with its interval.

A step's gradient is the sum of its examples' shares c_i = w_i g_i, with weights w_i that sum to 1. Of independent examples
E|sum c|² = |G|² + V and E sum |c_i|² = |G|² sum w² + V, where V is the variance of the step's gradient. So
|G|² = (|sum c|² - sum |c_i|²) / (1 - sum w²) and V is the rest, without bias; with B equal weights V is tr(Σ) / B, and the pair is
that of McCandlish et al. 2018 (1812.06162, appendix A.1). The noise scale is B V / |G|² examples. Nothing but the product with
1 / |G|² needs the scale of the loss, so a scaled or divided loss gives the same noise scale.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

LEVEL = 0.95
FORGOTTEN = 1e-3  # the weight of a step, relative to the last one's, from which it is left out


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    """A gradient noise scale tr(Σ) / |G|², in examples, with its 95 % interval.

    `value` is infinite where the mean squared gradient is not above 0: the steps seen were too few or too small.
    """

    value: float
    low: float
    high: float
    gradient: float  # |G|²
    noise: float  # tr(Σ), of one example's gradient
    tokens_per_example: float
    steps: float  # optimizer steps that the averages count, as so many equal ones
    of: str  # the parameters that it is of

    @property
    def tokens(self) -> float:
        """The noise scale in tokens."""
        return self.value * self.tokens_per_example


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio and its 95 % interval."""

    value: float
    low: float
    high: float


def components(big: float, small: float, weights_squared: float) -> tuple[float, float]:
    """|G|² and V of one step from |sum c|², sum |c|² and sum w²; arrays work too.

    Raises `ForescaleError` for a single example, which cannot tell noise from gradient.
    """
    if weights_squared > 1 - 1e-9:
        raise ForescaleError(
            "a noise scale needs two examples or more an optimizer step; got one: raise the batch, or accumulate."
        )
    gradient = (big - small) / (1 - weights_squared)
    return gradient, big - gradient


def two_sizes(small: float, big: float, small_batch: float, big_batch: float) -> tuple[float, float]:
    """|G|² and tr(Σ) from mean squared norms at two batch sizes (McCandlish et al. 2018, appendix A.1)."""
    if not 0 < small_batch < big_batch:
        raise ForescaleError(
            f"two batch sizes must differ, the small one first; got {small_batch:g} and {big_batch:g} examples."
        )
    gradient = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    return gradient, (small - big) / (1 / small_batch - 1 / big_batch)


class Averages:
    """Moving averages of |G|² and tr(Σ), layer by layer, and the steps that they are made of."""

    def __init__(self, beta: float) -> None:
        if not 0 <= beta < 1:
            raise ForescaleError(f"beta, of the moving averages, must be at least 0 and below 1; got {beta:g}.")
        self.beta = beta
        self.steps = 0
        kept = max(1, math.ceil(math.log(FORGOTTEN) / math.log(beta))) if beta else 1
        self._rows: deque[Array] = deque(maxlen=kept)

    def add(self, row: Array) -> None:
        """One step's (layers, 2) components; nan where a layer was not measured."""
        self._rows.append(row)
        self.steps += 1

    def rows(self, exact: bool = False) -> tuple[Array, Array]:
        """(steps, layers, 2) components and (steps,) weights that sum to 1; `exact`: of steps that measured every layer."""
        import numpy as np

        if not self._rows:
            raise ForescaleError(
                "a noise scale needs at least one update(); there was none: call it once an optimizer step."
            )
        rows = np.stack(self._rows)
        weights = self.beta ** np.arange(len(rows))[::-1]
        if exact:
            whole = np.isfinite(rows).all((1, 2))
            rows, weights = rows[whole], weights[whole]
        return rows, weights / weights.sum()

    def state(self) -> dict[str, Any]:
        """What `load` takes, for a checkpoint."""
        return {"steps": self.steps, "rows": [row.tolist() for row in self._rows]}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        import numpy as np

        self.steps = int(state["steps"])
        self._rows.clear()
        self._rows.extend(np.array(row, dtype=np.float64) for row in state["rows"])


def noise_scale(rows: Array, weights: Array, tokens: float, of: str) -> NoiseScale:
    """The ratio of the averages of (steps, 2) components, never the average of ratios, which has no mean."""
    gradient, noise = (float(mean) for mean in weights @ rows)
    steps = 1 / float((weights**2).sum())
    value, low, high = ratio(rows[:, 1], rows[:, 0], weights)
    return NoiseScale(
        value=value, low=low, high=high, gradient=gradient, noise=noise,
        tokens_per_example=tokens, steps=steps, of=of,
    )  # fmt: skip


def ratio(above: Array, below: Array, weights: Array) -> tuple[float, float, float]:
    """A ratio of weighted means and its 95 % interval: leave-one-out jackknife of its logarithm, Student's t."""
    import numpy as np

    top, bottom = float(weights @ above), float(weights @ below)
    if bottom <= 0 or top <= 0:
        return _unresolved(above, below, weights)
    if len(weights) == 1:
        return top / bottom, 0.0, math.inf
    rest_top, rest_bottom = top - weights * above, bottom - weights * below
    if (rest_bottom <= 0).any() or (rest_top <= 0).any():
        return top / bottom, *_unresolved(above, below, weights)[1:]
    spread = jackknife(np.log(rest_top / rest_bottom), weights)
    reach = math.exp(_quantile(weights) * spread)
    value = top / bottom
    return value, value / reach, value * reach


def jackknife(left_out: Array, weights: Array) -> float:
    """The standard error of a statistic from its values with one observation left out each.

    With equal weights (n - 1) / n times the sum of squares about their mean, as is usual; else each counts by its weight.
    """
    import numpy as np

    deviations = (1 - weights) * (left_out - weights @ left_out)
    return float(np.sqrt((deviations**2).sum() / (1 - (weights**2).sum())))


def _quantile(weights: Array) -> float:
    from scipy.special import stdtrit

    steps = 1 / float((weights**2).sum())
    return float(stdtrit(max(steps - 1, 1.0), (1 + LEVEL) / 2))


def _unresolved(above: Array, below: Array, weights: Array) -> tuple[float, float, float]:
    """No gradient stands out of the noise: the ratio is at least what its interval's upper end would give."""
    import numpy as np

    if len(weights) == 1:
        return math.inf, 0.0, math.inf
    top, bottom = float(weights @ above), float(weights @ below)
    error = math.sqrt(float((weights**2) @ (below - bottom) ** 2) / (1 - float((weights**2).sum())))
    most = bottom + _quantile(weights) * error
    low = max(top, 0.0) / most if most > 0 else math.inf
    return (top / bottom if bottom > 0 < top else math.inf), float(np.clip(low, 0, None)), math.inf
