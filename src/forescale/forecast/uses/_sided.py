"""Paths through a gap, and how likely what follows is after each: one pass, the past before the gap run once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forescale.forecast._sample import draw_paths
from forescale.forecast._torch import from_array, normal_cdf
from forescale.forecast._windows import Windows


class SidedDraw:
    """From normal numbers [paths, gap] to paths in the series' unit and the log likelihood of the known values after each."""

    def __init__(self, network: Any, windows: Windows, known: Any) -> None:
        """`windows` is one, whose horizon is the gap and the known values, NaN where there is none."""
        self.windows = windows
        self.network = copy.copy(network)  # the weights are shared, the law's methods are not
        self.unit, self.shift = float(windows.unit[0]), float(windows.shift[0])
        self.known = from_array((known - self.shift) / (self.unit or 1.0)).float()
        self.step = self.gap = 0
        self.likely = torch.zeros(0)
        if hasattr(network, "head"):
            self.network._modules = {**network._modules, "head": _Told(network.head, self._quantile_of_head)}
        else:
            self.network.density = _Told(network.density, self._quantile_of_density)

    def __call__(self, normal: Tensor) -> tuple[Any, Any]:
        """Paths [paths, gap] and log likelihoods [paths], nats in normalised units."""
        paths, self.gap = normal.shape
        self.step, self.likely = 0, torch.zeros(paths)
        uniform = torch.cat([normal_cdf(normal), normal.new_full((paths, len(self.known)), 0.5)], 1)
        with torch.no_grad():
            drawn = draw_paths(self.network, self.windows, uniform[None])[0, :, : self.gap].double().numpy()
        if not self.unit:  # a constant past: its last value, whatever follows
            last = float(self.windows.z[0, self.windows.layout.reach - 1])
            return np.full(drawn.shape, last + self.shift), np.zeros(paths)
        return drawn * self.unit + self.shift, self.likely.double().numpy()

    def _quantile_of_head(self, head: Any, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        z = self._next(u)
        if z is None:
            return head.quantile(state, u)
        bins = self.network.density.grid.encode(z)
        self.likely += head.law(state, bins).log_prob(z, bins)
        return z, bins

    def _quantile_of_density(self, density: Any, u: Tensor, conditional: Any, shapes: Any) -> tuple[Tensor, Tensor]:
        z = self._next(u)
        if z is None:
            return density.quantile(u, conditional, shapes)
        bins = density.grid.encode(z)
        logits = [conditional(level, list(bins[..., :level].unbind(-1))) for level in range(bins.shape[-1])]
        self.likely += density.log_prob(z, bins, logits, shapes)
        return z, bins

    def _next(self, u: Tensor) -> Tensor | None:
        """The known value of this step for every path; None where it is to be drawn."""
        place = self.step - self.gap
        self.step += 1
        if place < 0 or not bool(torch.isfinite(self.known[place])):
            return None
        return torch.full_like(u, float(self.known[place]))


class _Told:
    """A law whose `quantile` is told to another; all else is its own."""

    def __init__(self, law: Any, quantile: Any) -> None:
        self.law, self.told = law, quantile

    def quantile(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self.told(self.law, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)
