"""Models of loss whose derivatives are known: sums of powers, powers of such sums, and any formula at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

TINY = 1e-30  # the imaginary step of a derivative without cancellation


class Sum:
    """Loss as a sum of terms exp(X_j θ): `designs` (J, n, P). The value is its logarithm, or itself if `raw`."""

    def __init__(self, designs: Array, *, raw: bool = False) -> None:
        import numpy as np

        self.designs, self.raw = designs, raw
        J, n, P = designs.shape
        self.terms, self.size = J, P
        self.stacked = np.concatenate(list(designs))  # (J n, P)
        outer = np.einsum("jnp,knq->jknpq", designs, designs)
        outer = (outer + np.swapaxes(outer, -1, -2)) / 2
        pairs = [(j, k) for j in range(J) for k in range(j, J)]
        self.pairs = pairs
        self.outer = np.concatenate([outer[j, k].reshape(n, P * P) * (1 if j == k else 2) for j, k in pairs])
        self.squares = np.concatenate([outer[j, j].reshape(n, P * P) for j in range(J)])

    def powers(self, theta: Array) -> Array:
        """The terms (J, R, n)."""
        import numpy as np

        return np.exp(np.stack([theta @ X.T for X in self.designs]))

    def value(self, theta: Array) -> Array:
        """The log loss (R, n), or the loss."""
        import numpy as np

        total = self.powers(theta).sum(axis=0)
        return total if self.raw else np.log(total)

    def parts(self, theta: Array) -> SumParts:
        """The value with its derivatives."""
        import numpy as np

        powers = self.powers(theta)
        total = powers.sum(axis=0)
        if self.raw:
            return SumParts(model=self, value=total, shares=powers)
        return SumParts(model=self, value=np.log(total), shares=powers / total)


@dataclass(frozen=True, kw_only=True, eq=False)
class SumParts:
    """Derivatives of a `Sum` at parameter vectors; every sum over the runs is one matrix product."""

    model: Sum
    value: Array
    shares: Array  # (J, R, n): a term's part of the gradient

    def _over_runs(self, weights: Array, features: Array) -> Array:
        import numpy as np

        flat = np.concatenate(list(weights), axis=1)  # (R, J n)
        return flat @ features

    def pull(self, v: Array) -> Array:
        """Sum of v times the gradients."""
        return self._over_runs(self.shares * v, self.model.stacked)

    def gram(self, v: Array) -> Array:
        """Sum of v times the gradients' outer products."""
        import numpy as np

        first = self.shares * v
        weights = np.stack([first[j] * self.shares[k] for j, k in self.model.pairs])
        return self._square(self._over_runs(weights, self.model.outer))

    def curve(self, v: Array) -> Array:
        """Sum of v times the second derivatives; of a logarithm, less the gradients' outer product."""
        own = self._square(self._over_runs(self.shares * v, self.model.squares))
        return own if self.model.raw else own - self.gram(v)

    def _square(self, flat: Array) -> Array:
        return flat.reshape(len(flat), self.model.size, self.model.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """Derivatives from a gradient tensor (R, n, P); second derivatives by differences of it, where asked for."""

    value: Array
    gradient: Array
    nearby: Callable[[int, float], Array] | None = None  # gradient with parameter p moved by h

    def pull(self, v: Array) -> Array:
        """Sum of v times the gradients."""
        import numpy as np

        return np.matmul(v[:, None, :], self.gradient)[:, 0]

    def gram(self, v: Array) -> Array:
        """Sum of v times the gradients' outer products."""
        import numpy as np

        return np.matmul(np.swapaxes(self.gradient * v[..., None], 1, 2), self.gradient)

    def curve(self, v: Array) -> Array | None:
        """Sum of v times the second derivatives."""
        import numpy as np

        if self.nearby is None:
            return None
        h = 1e-5
        rows = [
            np.matmul(v[:, None, :], self.nearby(p, h) - self.nearby(p, -h))[:, 0] / (2 * h)
            for p in range(self.gradient.shape[2])
        ]
        H = np.stack(rows, axis=1)
        return (H + np.swapaxes(H, 1, 2)) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Power:
    """Loss as (sum of terms exp(X_j θ + offset_j))^θ[power] + exp(θ[floor])."""

    designs: Array
    offset: Array  # (J, n): what no parameter moves
    power: int
    floor: int | None
    raw: bool = False

    def _terms(self, theta: Array) -> tuple[Array, Array, Array]:
        """The terms (J, R, n), the powered sum and the floor."""
        import numpy as np

        terms = np.exp(np.stack([theta @ X.T for X in self.designs]) + self.offset[:, None])
        powered = terms.sum(axis=0) ** theta[:, self.power, None]
        floor = np.zeros((len(theta), 1)) if self.floor is None else np.exp(theta[:, self.floor, None])
        return terms, powered, floor

    def value(self, theta: Array) -> Array:
        """The log loss (R, n), or the loss."""
        import numpy as np

        _, powered, floor = self._terms(theta)
        return powered + floor if self.raw else np.log(powered + floor)

    def _gradient(self, theta: Array) -> Array:
        import numpy as np

        terms, powered, floor = self._terms(theta)
        total = terms.sum(axis=0)
        inner = sum((t / total)[..., None] * X for t, X in zip(terms, self.designs, strict=True))
        gradient = np.asarray(inner) * theta[:, self.power, None, None]
        gradient[..., self.power] += np.log(total)
        gradient *= powered[..., None]
        if self.floor is not None:
            gradient[..., self.floor] += floor
        return gradient if self.raw else gradient / (powered + floor)[..., None]

    def parts(self, theta: Array) -> Tensor:
        """The value with its derivatives."""
        return Tensor(
            value=self.value(theta),
            gradient=self._gradient(theta),
            nearby=lambda p, h: self._gradient(_moved(theta, p, h)),
        )


def _moved(theta: Array, p: int, h: float) -> Array:
    moved = theta.copy()
    moved[:, p] += h
    return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Formula:
    """Loss by any function of θ (R, P) that accepts complex numbers: gradients by the imaginary step."""

    loss: Callable[[Any], Any]
    raw: bool = False
    curved: bool = True

    def _of(self, theta: Any) -> Any:
        import numpy as np

        value = self.loss(theta)
        return value if self.raw else np.log(value)

    def value(self, theta: Array) -> Array:
        """The log loss (R, n), or the loss."""
        import numpy as np

        value = self.loss(theta)
        return value if self.raw else np.log(value)

    def _gradient(self, theta: Array) -> Array:
        import numpy as np

        columns: list[Array] = []
        for p in range(theta.shape[1]):
            moved = theta.astype(complex)
            moved[:, p] += 1j * TINY
            columns.append(self._of(moved).imag / TINY)
        return np.stack(columns, axis=-1)

    def parts(self, theta: Array) -> Tensor:
        """The value with its derivatives."""

        def nearby(p: int, h: float) -> Array:
            return self._gradient(_moved(theta, p, h))

        gradient = self._gradient(theta)
        return Tensor(value=self.value(theta), gradient=gradient, nearby=nearby if self.curved else None)
