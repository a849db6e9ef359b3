"""Nested bins: every level cuts each bin of the level before into equal parts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from forescale.errors import ForescaleError


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Bins of [low, high]: `bins[0]` equal ones, each cut into `bins[1]`, and so on (C2FAR, Bergsma et al. 2022).

    One level is flat binning. Bins are closed on the left; the first and the last bin of all are open-ended.
    """

    bins: tuple[int, ...] = (20, 20, 20)
    low: float = -0.1  # in units of the normalised series
    high: float = 1.3

    def __post_init__(self) -> None:
        if not self.bins or min(self.bins) < 2:
            raise ForescaleError(f"every level needs 2 bins or more; got bins={self.bins}.")
        if not self.low < self.high:
            raise ForescaleError(f"the grid must have low < high; got {self.low} and {self.high}.")

    @property
    def levels(self) -> int:
        """How many times a value is binned."""
        return len(self.bins)

    @property
    def outputs(self) -> int:
        """Logits of all levels: what the grid costs."""
        return sum(self.bins)

    @property
    def intervals(self) -> int:
        """Finest intervals: what the grid resolves."""
        return math.prod(self.bins)

    @property
    def width(self) -> float:
        """Width of a finest interval, in units of the normalised series."""
        return (self.high - self.low) / self.intervals

    def encode(self, z: Tensor) -> Tensor:
        """The bins of values, int64 of shape [..., levels]; values must be finite."""
        indices: list[Tensor] = []
        edges, inside = self._edges(z), z
        for level, count in enumerate(self.bins):
            if level:
                edges = torch.arange(count + 1, dtype=z.dtype, device=z.device) / count
            index = torch.bucketize(inside.contiguous(), edges[1:-1], right=True)
            inside = (inside - edges[index]) / (edges[index + 1] - edges[index])
            indices.append(index)
        return torch.stack(indices, -1)

    def _edges(self, z: Tensor) -> Tensor:
        count = self.bins[0]
        steps = torch.arange(count + 1, dtype=torch.float64, device=z.device)
        return (self.low + steps * ((self.high - self.low) / count)).to(z.dtype)

    def place(self, bins: Tensor) -> Tensor:
        """Which finest interval bins [..., levels] name, counted from 0 at the low end."""
        place = bins[..., 0]
        for level in range(1, self.levels):
            place = place * self.bins[level] + bins[..., level]
        return place

    def offsets(self, device: torch.device | None = None) -> Tensor:
        """Where each level starts in the concatenation of all levels' bins, [levels]."""
        return torch.tensor([sum(self.bins[:level]) for level in range(self.levels)], device=device)
