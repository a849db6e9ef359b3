"""A Gaussian belief about a lab's two power laws, and how cells update it: expectation propagation, no sampling.

A lab's laws are eight numbers theta: for the best learning rate and for the best batch a logarithm at the centre and
exponents of params, tokens and the active share. A cell's optimum is its features times theta, and off it by a deviation of
its own (`DEVIATION`). A cell's evidence is not Gaussian (it may be a ridge or a half-line); its effect on the mean and
covariance of the cell's optimum, given all other cells, is taken exactly on the grid (Minka 2001, expectation propagation).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.fit.calibrate._evidence import Evidence
from forescale.fit.calibrate._valley import OCTAVE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

CENTRE = {"params": 3e8, "tokens": 5e9}
INPUTS = ("params", "tokens", "active_share")
SIZE = 1 + len(INPUTS)  # coefficients of one quantity
DEVIATION = (0.25 * OCTAVE, 0.35 * OCTAVE)  # sd of a cell's optimum around its lab's power laws: rate, batch
SWEEPS = 30
SETTLED = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """A Gaussian in natural form: precision (8, 8) and precision times mean (8,)."""

    precision: Array
    shift: Array

    @property
    def mean(self) -> Array:
        """The most likely coefficients."""
        import numpy as np

        return np.linalg.solve(self.precision, self.shift)

    @property
    def covariance(self) -> Array:
        """Of the coefficients."""
        import numpy as np

        return np.linalg.inv(self.precision)

    def plus(self, other: Belief) -> Belief:
        """Both beliefs' information, where they are independent."""
        return Belief(precision=self.precision + other.precision, shift=self.shift + other.shift)

    def minus(self, other: Belief) -> Belief:
        """The belief without a factor that is in it."""
        return Belief(precision=self.precision - other.precision, shift=self.shift - other.shift)

    def at(self, X: Array) -> tuple[Array, Array]:
        """Mean and covariance of X theta, for instance of a workload's best (ln learning rate, ln batch)."""
        return X @ self.mean, X @ self.covariance @ X.T


def gaussian(mean: Array, covariance: Array) -> Belief:
    """A belief from its mean and covariance."""
    import numpy as np

    precision = np.linalg.inv(covariance)
    return Belief(precision=precision, shift=precision @ mean)


def design(params: float, tokens: float, active_params: float) -> Array:
    """(2, 8): theta to (ln learning rate, ln batch in tokens) of a workload's optimum."""
    import numpy as np

    row = [1.0, *(math.log(x / c) for x, c in zip((params, tokens), CENTRE.values(), strict=True))]
    return np.kron(np.eye(2), [*row, math.log(active_params / params)])


def deviation() -> Array:
    """(2, 2): covariance of a cell's optimum around the laws."""
    import numpy as np

    return np.diag(np.square(DEVIATION))


def information(prior: Belief, cells: Sequence[Evidence]) -> tuple[Belief, ...]:
    """What each cell says of theta, as a Gaussian factor: the prior times all of them is the belief after the runs.

    The belief without one cell is the product of the others.
    """
    import numpy as np

    designs = [design(e.cell.params, e.cell.tokens, e.cell.active_params) for e in cells]
    nothing = Belief(precision=np.zeros_like(prior.precision), shift=np.zeros_like(prior.shift))
    factors, belief = [nothing for _ in cells], prior
    for _ in range(SWEEPS):
        before = belief
        for i, (X, e) in enumerate(zip(designs, cells, strict=True)):
            others = belief.minus(factors[i])
            factors[i] = _factor(e, X, others)
            belief = others.plus(factors[i])
        if np.abs(belief.shift - before.shift).max() < SETTLED * (1 + np.abs(belief.shift).max()):
            break
    return tuple(factors)


def product(prior: Belief, factors: Iterable[Belief]) -> Belief:
    """The prior times the factors."""
    for factor in factors:
        prior = prior.plus(factor)
    return prior


def _factor(e: Evidence, X: Array, others: Belief) -> Belief:
    P, h = _on_laws(*_site(e, X @ others.mean, X @ others.covariance @ X.T + deviation()))
    return Belief(precision=X.T @ P @ X, shift=X.T @ h)


def _on_laws(P: Array, h: Array) -> tuple[Array, Array]:
    """A site on a cell's optimum as one on its laws' value: the cell's own deviation in between."""
    import numpy as np

    through = np.linalg.inv(np.eye(2) + P @ deviation())
    return through @ P, through @ h


def _site(e: Evidence, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """The Gaussian factor that gives the cell's optimum the moments it has under evidence and the other cells."""
    import numpy as np

    cavity = np.linalg.inv(covariance)
    at, spread = moments(e, mean, cavity)
    tilted = np.linalg.inv(spread)
    P = _positive(tilted - cavity)
    return P, P @ at + cavity @ (at - mean)


def moments(e: Evidence, mean: Array, precision: Array) -> tuple[Array, Array]:
    """Mean and covariance of the cell's optimum under its evidence and a Gaussian."""
    import numpy as np

    a, b = e.rates - mean[0], e.batches - mean[1]
    quadratic = precision[0, 0] * (a * a)[:, None] + 2 * precision[0, 1] * np.outer(a, b) + precision[1, 1] * b * b
    logs = e.log_likelihood - 0.5 * quadratic
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    along_a, along_b = weights.sum(1), weights.sum(0)
    centre = np.array([along_a @ a, along_b @ b])
    cross = float(a @ weights @ b)
    second = np.array([[along_a @ (a * a), cross], [cross, along_b @ (b * b)]])
    grid = np.diag([(e.rates[1] - e.rates[0]) ** 2 / 12, (e.batches[1] - e.batches[0]) ** 2 / 12])
    return mean + centre, second - np.outer(centre, centre) + grid


def _positive(P: Array) -> Array:
    """The nearest positive semidefinite matrix: evidence never takes certainty away here."""
    import numpy as np

    values, vectors = np.linalg.eigh((P + P.T) / 2)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T
