"""One horizon of several series, coded by a model's bins: level by level, then which number of the finest interval."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forescale.forecast._density import Conditional, Density
from forescale.forecast._grid import Grid
from forescale.forecast._torch import from_array
from forescale.forecast._windows import Windows, extra_inputs
from forescale.forecast.uses._range_coder import LARGEST_TOTAL, AdaptiveNumber, Coder, code_below

FAR = 2**62  # beyond every number
LOGIT_STEP = 2.0**-10  # logits are rounded to it, so that machines whose last digits differ still agree


@dataclass(frozen=True, kw_only=True)
class CodedDensity(Density):
    """A density whose `quantile` codes the next values where others draw them: the network's own steps do the rest."""

    code: Callable[[Conditional], tuple[Tensor, Tensor]]

    def quantile(self, u: Tensor, conditional: Conditional, shapes: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The values z and bins of the coded numbers."""
        return self.code(conditional)


def double_precision(network: Any) -> Any:
    """A copy of the network in float64."""
    return copy.deepcopy(network).double().eval()


class Block:
    """Series that are coded side by side over one horizon; whole numbers `base` times a step make their values."""

    def __init__(self, coder: Coder, grid: Grid, windows: Windows, scale: float, tails: AdaptiveNumber) -> None:
        self.coder, self.grid, self.tails, self.scale = coder, grid, tails, scale
        self.windows = windows
        self.shift = windows.shift.numpy() * scale
        self.unit = windows.unit.numpy() * scale
        self.numbers: Any = None  # of this step: told to an encoder, found by a decoder
        self.active: Any = None  # which series have this step

    def run(self, network: Any, numbers: Any, active: Any) -> Any:
        """Code `numbers` [series, steps] where `active`; returns them as the coder has them."""
        layout, steps = self.windows.layout, numbers.shape[1]
        past = self.windows.z[:, : layout.reach].double()
        self._coding(network)
        with torch.no_grad():
            step = network.start(_doubled(self.windows.inputs(self.grid, horizon=False)), 1)
            z = torch.cat([past, past.new_zeros(len(past), steps)], 1)
            bins = self.grid.encode(z)
            found: list[Any] = []
            for t in range(steps):
                at, self.numbers, self.active = layout.reach + t, numbers[:, t], active[:, t]
                extra = extra_inputs(self.windows, z, bins, self.grid, at, 1)
                known = None if extra is None else extra[:, 0].double()
                z[:, at], bins[:, at] = step(z[:, at - 1], bins[:, at - 1], known, z[:, at])
                found.append(self.numbers)
        return np.stack(found, 1)

    def _coding(self, network: Any) -> None:
        density = network.density
        coded = CodedDensity(grid=self.grid, tails=density.tails, nudge=density.nudge, code=self._code)
        network.density = coded
        if hasattr(network, "head"):
            network.head.density = coded

    def _code(self, conditional: Conditional) -> tuple[Tensor, Tensor]:
        """Code one step of every series."""
        place = np.zeros(len(self.shift), np.int64)
        chosen: list[Tensor] = []
        for level, count in enumerate(self.grid.bins):
            finest = math.prod(self.grid.bins[level + 1 :])
            edges = self._edges((place[:, None] * count + np.arange(count + 1)) * finest)
            tables = frequencies(conditional(level, chosen).numpy(), edges[:, 1:] > edges[:, :-1])
            wanted = (edges[:, 1:-1] <= self.numbers[:, None]).sum(1)
            symbols = np.array([
                self.coder.code(table, int(symbol)) if on else 0
                for table, symbol, on in zip(tables.tolist(), wanted, self.active, strict=True)
            ])  # fmt: skip
            place = place * count + symbols
            chosen.append(from_array(symbols))
        self.numbers = self._rest(place)
        z = (self.numbers - self.shift) / self.unit
        return from_array(z), torch.stack(chosen, -1)

    def _edges(self, place: Any) -> Any:
        """The least whole number in or above finest intervals; the outer two reach to infinity."""
        edges: Any = np.ceil(self.shift[:, None] + self.unit[:, None] * (self.grid.low + place * self.grid.width))
        edges: Any = np.clip(edges, -FAR, FAR).astype(np.int64)
        return np.where(place == 0, -FAR, np.where(place == self.grid.intervals, FAR, edges))

    def _rest(self, place: Any) -> Any:
        """Which number of the finest interval it is: all alike, but in the outer two by its distance from the grid."""
        low, high = self._edges(np.stack([place, place + 1], 1)).T.tolist()
        found = [
            self._number(a, b, int(number)) if on else int(number)
            for a, b, number, on in zip(low, high, self.numbers, self.active, strict=True)
        ]
        return np.array(found, np.int64)

    def _number(self, low: int, high: int, number: int) -> int:
        if low == -FAR:
            return high - 1 - self.tails.code(self.coder, high - 1 - number)
        if high == FAR:
            return low + self.tails.code(self.coder, number - low)
        return low + code_below(self.coder, high - low, number - low)


def _doubled(inputs: Any) -> Any:
    extra = None if inputs.extra is None else inputs.extra.double()
    return type(inputs)(z=inputs.z.double(), bins=inputs.bins, extra=extra)


def frequencies(logits: Any, allowed: Any) -> Any:
    """Cumulated whole-number frequencies [rows, bins + 1] of a softmax over the bins that hold a number at all."""
    scaled: Any = logits / LOGIT_STEP
    rounded: Any = np.rint(scaled) * LOGIT_STEP
    rounded[~allowed] = -np.inf
    weight: Any = np.exp(rounded - rounded.max(1, keepdims=True))
    share = weight / weight.sum(1, keepdims=True)
    free = LARGEST_TOTAL - allowed.sum(1, keepdims=True)
    counts = np.floor(share * free).astype(np.int64) + allowed
    rows = np.arange(len(counts))
    counts[rows, counts.argmax(1)] += LARGEST_TOTAL - counts.sum(1)
    return np.concatenate([np.zeros((len(counts), 1), np.int64), counts.cumsum(1)], 1)
