"""From squared norms to the gradient noise scale, with its interval.

A step's gradient is the sum of its examples' shares c_i = w_i g_i, with weights w_i that sum to 1. Of independent examples
E|sum c|² = |G|² + V and E sum |c_i|² = |G|² sum w² + V, where V is the variance of the step's gradient. So
|G|² = (|sum c|² - sum |c_i|²) / (1 - sum w²) and V is the rest, without bias; with B equal weights V is tr(Σ) / B, and the
pair is that of McCandlish et al. 2018 (1812.06162, appendix A.1). The noise scale is B V / |G|² examples, the batch at which
both are equal. It does not depend on the scale of the loss, so a scaled or divided loss gives the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
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
        self._exact: deque[Array] = deque(maxlen=kept)  # those that measured every layer, for longer

    def add(self, row: Array) -> None:
        """One step's (layers, 2) components; nan where a layer was not measured."""
        import numpy as np

        self._rows.append(row)
        self.steps += 1
        if np.isfinite(row).all():
            self._exact.append(row)

    def rows(self, exact: bool = False) -> tuple[Array, Array]:
        """(steps, layers, 2) components and (steps,) weights that sum to 1; `exact`: of the steps that measured every layer.

        Each step before another has `beta` times its weight; of exact steps, each exact one.
        """
        import numpy as np

        if not self._rows:
            raise ForescaleError(
                "a noise scale needs at least one update(); there was none: call it once an optimizer step."
            )
        rows = np.stack(self._exact) if exact and self._exact else np.stack(self._rows)[: 0 if exact else None]
        weights = self.beta ** np.arange(len(rows))[::-1]
        return rows, weights / weights.sum()

    def state(self) -> dict[str, Any]:
        """What `load` takes, for a checkpoint."""
        rows = {"rows": self._rows, "exact": self._exact}
        return {"steps": self.steps} | {name: [row.tolist() for row in kept] for name, kept in rows.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        import numpy as np

        self.steps = int(state["steps"])
        for name, kept in (("rows", self._rows), ("exact", self._exact)):
            kept.clear()
            kept.extend(np.array(row, dtype=np.float64) for row in state[name])


def noise_scale(rows: Array, weights: Array, tokens: float, of: str) -> NoiseScale:
    """The ratio of the averages of (steps, 2) components, never the average of ratios, which has no mean."""
    gradient, noise = (float(mean) for mean in weights @ rows)
    steps = 1 / float((weights**2).sum())
    value, low, high = ratio((rows[:, 1],), (rows[:, 0],), weights)
    return NoiseScale(
        value=value, low=low, high=high, gradient=gradient, noise=noise,
        tokens_per_example=tokens, steps=steps, of=of,
    )  # fmt: skip


def predicted(norm: NoiseScale, factor: Ratio, gradient: float, noise: float) -> NoiseScale:
    """The noise scale of all layers from that of the norm layers, and what total over norm layers was on exact steps.

    `gradient` and `noise` are the two factors whose quotient `factor` is. Its error and that of `norm` count as independent.
    """
    reach = math.hypot(*(math.log(each.high / each.value) if _resolved(each) else math.inf for each in (norm, factor)))
    value = norm.value * factor.value
    low, high = value * math.exp(-reach), value * math.exp(min(reach, 700.0))  # math.exp(710) is too large
    if math.isinf(reach):
        low, high = norm.low * factor.low, math.inf
    return NoiseScale(
        value=value, low=low, high=high, gradient=norm.gradient * gradient, noise=norm.noise * noise,
        tokens_per_example=norm.tokens_per_example, steps=norm.steps, of="all layers, from the norm layers",
    )  # fmt: skip


def _resolved(each: NoiseScale | Ratio) -> bool:
    return each.value > 0 and math.isfinite(each.high)


def ratio(above: Sequence[Array], below: Sequence[Array], weights: Array) -> tuple[float, float, float]:
    """A product of weighted means over another, with its 95 % interval: leave-one-out jackknife of its logarithm, Student's t."""
    import numpy as np

    tops, bottoms = (np.stack([np.asarray(each) for each in side], 1) for side in (above, below))
    top, bottom = weights @ tops, weights @ bottoms
    if (bottom <= 0).any() or (top <= 0).any():
        return _unresolved(tops, bottoms, weights)
    value = float(top.prod() / bottom.prod())
    if len(weights) == 1:
        return value, 0.0, math.inf
    rest_top, rest_bottom = top - weights[:, None] * tops, bottom - weights[:, None] * bottoms
    if (rest_bottom <= 0).any() or (rest_top <= 0).any():
        return value, *_unresolved(tops, bottoms, weights)[1:]
    left_out = np.log(rest_top).sum(1) - np.log(rest_bottom).sum(1)
    reach = math.exp(min(_quantile(weights) * jackknife(left_out, weights), 700.0))  # math.exp(710) is too large
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


def _unresolved(tops: Array, bottoms: Array, weights: Array) -> tuple[float, float, float]:
    """No gradient stands out of the noise: the ratio is at least what its interval's upper end would give."""
    import numpy as np

    top, bottom = weights @ tops, weights @ bottoms
    value = 0.0 if (bottom > 0).all() else math.inf
    if len(weights) == 1 or tops.shape[1] > 1:
        return value, 0.0, math.inf
    error = np.sqrt(weights**2 @ (bottoms - bottom) ** 2 / (1 - (weights**2).sum()))
    most = float((bottom + _quantile(weights) * error)[0])
    low = max(float(top[0]), 0.0) / most if most > 0 else math.inf
    return value, low, math.inf
