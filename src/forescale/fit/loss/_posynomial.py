"""Models of loss whose derivatives are known: sums of powers, powers of such sums, and any formula at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.fit.loss._robust import Array

TINY = 1e-30  # the imaginary step of a derivative without cancellation


class Designs:
    """Matrices X_j (J, n, P) of terms exp(X_j θ) and their products, without the columns that are 0.

    Every sum over the runs is a product of weights (R, n) with a thin matrix.
    """

    def __init__(self, designs: Array) -> None:
        import numpy as np

        self.size = designs.shape[2]
        self.pairs = [(j, k) for j in range(len(designs)) for k in range(j, len(designs))]
        self.singles = [_filled(X) for X in designs]
        self.products = [_filled(_upper(designs[j], designs[k])) for j, k in self.pairs]
        self.rows, self.columns = np.triu_indices(self.size)

    def terms(self, theta: Array) -> list[Array]:
        """X_j θ for each j: (R, n)."""
        return [theta[:, at] @ X.T for at, X in self.singles]

    def pull(self, weights: Sequence[Array]) -> Array:
        """Sum over j and the runs of weights (R, n) times X_j: (R, P)."""
        import numpy as np

        total = np.zeros((len(weights[0]), self.size))
        for (at, X), w in zip(self.singles, weights, strict=True):
            total[:, at] += w @ X
        return total

    def gram(self, weights: Sequence[Array]) -> Array:
        """Sum over the pairs and the runs of weights (R, n) times X_j X_k', symmetric: (R, P, P)."""
        import numpy as np

        flat = np.zeros((len(weights[0]), len(self.rows)))
        for (at, X), w in zip(self.products, weights, strict=True):
            flat[:, at] += w @ X
        total = np.empty((len(flat), self.size, self.size))
        total[:, self.rows, self.columns] = flat
        total[:, self.columns, self.rows] = flat
        return total


def _upper(X: Array, Y: Array) -> Array:
    """Upper triangles of X_n Y_n' + Y_n X_n' (halved where X is Y) for every run: (n, P (P + 1) / 2)."""
    import numpy as np

    outer = np.einsum("np,nq->npq", X, Y)
    outer = outer if X is Y or np.array_equal(X, Y) else outer + np.swapaxes(outer, 1, 2)
    rows, columns = np.triu_indices(X.shape[1])
    return outer[:, rows, columns]


def _filled(matrix: Array) -> tuple[Any, Array]:
    """Indices of the columns that are not all 0, and those columns."""
    import numpy as np

    at = np.flatnonzero(np.any(matrix != 0, axis=0))
    return at, np.ascontiguousarray(matrix[:, at])


class Sum:
    """Loss as a sum of terms exp(X_j θ): `designs` (J, n, P). The value is its logarithm, or itself if `raw`."""

    def __init__(self, designs: Array, *, raw: bool = False) -> None:
        self.designs, self.raw = Designs(designs), raw

    def _powers(self, theta: Array) -> tuple[list[Array], Array]:
        """The terms (R, n) and their sum."""
        import numpy as np

        powers = [np.exp(each, out=each) for each in self.designs.terms(theta)]
        return powers, np.asarray(sum(powers[1:], start=powers[0]))

    def value(self, theta: Array) -> Array:
        """The log loss (R, n), or the loss."""
        import numpy as np

        total = self._powers(theta)[1]
        return total if self.raw else np.log(total)

    def parts(self, theta: Array) -> SumParts:
        """The value with its derivatives."""
        import numpy as np

        powers, total = self._powers(theta)
        if self.raw:
            return SumParts(designs=self.designs, raw=True, value=total, shares=powers)
        shares = [np.divide(each, total, out=each) for each in powers[1:]]
        return SumParts(designs=self.designs, raw=False, value=np.log(total), shares=[powers[0] / total, *shares])


@dataclass(frozen=True, kw_only=True, eq=False)
class SumParts:
    """Derivatives of a `Sum` at parameter vectors."""

    designs: Designs
    raw: bool
    value: Array
    shares: list[Array]  # (R, n): each term's part of the gradient

    def pull(self, v: Array) -> Array:
        """Sum of v times the gradients."""
        return self.designs.pull([share * v for share in self.shares])

    def gram(self, v: Array) -> Array:
        """Sum of v times the gradients' outer products."""
        first = [share * v for share in self.shares]
        return self.designs.gram([first[j] * self.shares[k] for j, k in self.designs.pairs])

    def hessian(self, v: Array, w: Array) -> Array:
        """Sum of v times the gradients' outer products and w times the second derivatives."""
        # Second derivatives of a sum are its terms' own; of its logarithm, less the gradient's outer product.
        first = [share * (v if self.raw else v - w) for share in self.shares]
        weights = [first[j] * self.shares[k] for j, k in self.designs.pairs]
        for (j, k), weight in zip(self.designs.pairs, weights, strict=True):
            if j == k:
                weight += w * self.shares[j]
        return self.designs.gram(weights)


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

    def hessian(self, v: Array, w: Array) -> Array | None:
        """Sum of v times the gradients' outer products and w times the second derivatives."""
        import numpy as np

        if self.nearby is None:
            return None
        h = 1e-5
        rows = [
            np.matmul(w[:, None, :], self.nearby(p, h) - self.nearby(p, -h))[:, 0] / (2 * h)
            for p in range(self.gradient.shape[2])
        ]
        H = np.stack(rows, axis=1)
        return self.gram(v) + (H + np.swapaxes(H, 1, 2)) / 2


class Power:
    """Loss as (sum of terms exp(X_j θ + offset_j))^θ[power] + exp(θ[floor]): `designs` (J, n, P), `offset` (J, n)."""

    def __init__(self, designs: Array, offset: Array, *, power: int, floor: int | None, raw: bool = False) -> None:
        self.designs, self.offset, self.power, self.floor, self.raw = Designs(designs), offset, power, floor, raw

    def _terms(self, theta: Array) -> tuple[list[Array], Array, Array]:
        """The terms (R, n), the logarithm of their sum, and the floor (R, 1)."""
        import numpy as np

        terms = [np.exp(each + shift) for each, shift in zip(self.designs.terms(theta), self.offset, strict=True)]
        floor = np.zeros((len(theta), 1)) if self.floor is None else np.exp(theta[:, self.floor, None])
        return terms, np.log(np.asarray(sum(terms))), floor

    def value(self, theta: Array) -> Array:
        """The log loss (R, n), or the loss."""
        import numpy as np

        _, level, floor = self._terms(theta)
        total = np.exp(theta[:, self.power, None] * level) + floor
        return total if self.raw else np.log(total)

    def parts(self, theta: Array) -> PowerParts:
        """The value with its derivatives."""
        import numpy as np

        terms, level, floor = self._terms(theta)
        exponent = theta[:, self.power, None]
        powered = np.exp(exponent * level)
        total = powered + floor
        shares = [each / np.exp(level) for each in terms]
        size = 1.0 if self.raw else total
        return PowerParts(
            model=self, value=total if self.raw else np.log(total), shares=shares, level=level, exponent=exponent,
            upper=powered / size, lower=np.broadcast_to(floor / size, level.shape),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerParts:
    """Derivatives of a `Power`: of k times the level (the sum's logarithm), then of what the value makes of that.

    The gradient of the level is the mean of the designs under the terms' `shares`; `upper` and `lower` (R, n) are what
    the powered sum and the floor have of the value's own derivative.
    """

    model: Power
    value: Array
    shares: list[Array]
    level: Array
    exponent: Array
    upper: Array
    lower: Array

    def pull(self, v: Array) -> Array:
        """Sum of v times the gradients."""
        a = v * self.upper
        total = self._level(a * self.exponent)
        total[:, self.model.power] += (a * self.level).sum(axis=1)
        if self.model.floor is not None:
            total[:, self.model.floor] += (v * self.lower).sum(axis=1)
        return total

    def gram(self, v: Array) -> Array:
        """Sum of v times the gradients' outer products."""
        return self._assemble(v * self.upper**2, v * self.upper * self.lower, v * self.lower**2)

    def hessian(self, v: Array, w: Array) -> Array:
        """Sum of v times the gradients' outer products and w times the second derivatives."""
        u = v if self.model.raw else v - w  # of a logarithm, less the gradient's outer product
        both, own = u * self.upper * self.lower, w * self.upper
        return self._assemble(u * self.upper**2 + own, both, u * self.lower**2 + w * self.lower, own)

    def _level(self, a: Array) -> Array:
        """Sum of a times the level's gradient."""
        return self.model.designs.pull([a * share for share in self.shares])

    def _assemble(self, a: Array, both: Array, low: Array, own: Array | None = None) -> Array:
        """Sums of a d d' + both (d f' + f d') + low f f', and of own times the second derivatives of k times the level.

        d is the gradient of k times the level, f the direction of the floor.
        """
        import numpy as np

        k, level, designs = self.exponent, self.level, self.model.designs
        square = a * k**2 if own is None else a * k**2 - own * k
        weights = [square * self.shares[i] * self.shares[j] for i, j in designs.pairs]
        if own is not None:
            for (i, j), weight in zip(designs.pairs, weights, strict=True):
                if i == j:
                    weight += own * k * self.shares[i]
        H = designs.gram(weights)
        _cross(H, self.model.power, self._level(a * k * level if own is None else a * k * level + own))
        H[:, self.model.power, self.model.power] += (a * level**2).sum(axis=1)
        if self.model.floor is not None:
            along = self._level(both * k)
            along[:, self.model.power] += (both * level).sum(axis=1)
            _cross(H, self.model.floor, along)
            H[:, self.model.floor, self.model.floor] += np.sum(low, axis=1)
        return H


def _cross(H: Array, at: int, row: Array) -> None:
    """Add e r' + r e' to every matrix."""
    H[:, at, :] += row
    H[:, :, at] += row


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
