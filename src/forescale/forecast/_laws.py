"""Normal and Student-t laws as heads of the shared network: what C2FAR's law is measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.forecast._grid import Grid
from forescale.forecast._torch import from_array, normal_cdf, normal_quantile

LEAST_SCALE = 1e-4  # in units of the normalised series
LEAST_FREEDOM = 1.0  # so that the median of a mean of paths stays finite
LARGEST = 1e6  # of a drawn value, in units of the normalised series


@dataclass(frozen=True, kw_only=True)
class LocationScaleLaw:
    """A normal law of each value, or Student's t where there are degrees of freedom; [windows, steps]."""

    location: Tensor
    scale: Tensor
    freedom: Tensor | None

    def log_prob(self, z: Tensor, bins: Tensor) -> Tensor:  # noqa: ARG002  # the laws of levels need the bins
        """Nats, of values in units of the normalised series."""
        x = (z - self.location) / self.scale
        if (v := self.freedom) is None:
            return -0.5 * x**2 - torch.log(self.scale) - 0.5 * math.log(2 * math.pi)
        constant = torch.lgamma((v + 1) / 2) - torch.lgamma(v / 2) - 0.5 * torch.log(v * math.pi)
        return constant - torch.log(self.scale) - (v + 1) / 2 * torch.log1p(x**2 / v)

    def cdf(self, z: Tensor, bins: Tensor) -> Tensor:  # noqa: ARG002
        """P(Z <= z)."""
        x = (z - self.location) / self.scale
        if self.freedom is None:
            return normal_cdf(x)
        from scipy.special import stdtr

        return _by_numpy(stdtr, self.freedom, x)

    def quantile(self, u: Tensor) -> Tensor:
        """The value that a share u of the law lies below."""
        u = u.clamp(1e-7, 1 - 1e-7)
        if self.freedom is None:
            x = normal_quantile(u)
        else:
            from scipy.special import stdtrit

            x = _by_numpy(stdtrit, self.freedom, u)
        return (self.location + self.scale * x).clamp(-LARGEST, LARGEST)


def _by_numpy(function: Any, a: Tensor, b: Tensor) -> Tensor:
    return from_array(function(a.detach().double().numpy(), b.detach().double().numpy())).to(b.dtype)


class LocationScaleHead(nn.Module):
    """A hidden layer as wide as a level's of C2FAR, then two or three numbers."""

    def __init__(self, grid: Grid, width: int, hidden: int, *, student: bool) -> None:
        super().__init__()
        self.grid, self.student = grid, student
        self.enter = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, 2 + student)

    def law(self, state: Tensor, bins: Tensor | None = None) -> LocationScaleLaw:  # noqa: ARG002
        """The law of each value."""
        location, spread, *freedom = self.out(functional.relu(self.enter(state))).unbind(-1)
        return LocationScaleLaw(
            location=location,
            scale=functional.softplus(spread) + LEAST_SCALE,
            freedom=functional.softplus(freedom[0]) + LEAST_FREEDOM if freedom else None,
        )

    def quantile(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """The value that a share u of the law lies below, and its bins."""
        z = self.law(state).quantile(u)
        return z, self.grid.encode(z)
