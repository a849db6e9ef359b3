"""Paths moved from their own law to their law given what comes after them.

A path is a function of the normal numbers that it is drawn by. In rounds the likelihood of what comes after counts more and
more; the likely are copied, and each copy's numbers are moved a little and kept or put back. Sources: sequential Monte Carlo by
tempering, Del Moral, Doucet and Jasra 2006; moves that keep a normal law, Cotter, Roberts, Stuart and White 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from forescale.forecast._torch import from_array

ROUNDS = 40  # at most, of the likelihood's way from power 0 to 1
MOVES = 3  # of a round
FIRST = 0.9  # size of the first move; 1: a fresh path
TAKEN = 0.3  # the share of moves to be taken, by which later ones are sized
Draw = Callable[[Tensor], tuple[Any, Any]]
"""Normal numbers [paths, steps] -> paths [paths, steps] and the log likelihood after each [paths]."""


@dataclass(kw_only=True)
class _Cloud:
    normal: Tensor
    drawn: Any
    likely: Any

    def keep(self, index: Any) -> None:
        self.normal, self.drawn, self.likely = self.normal[index], self.drawn[index], self.likely[index]

    def move(self, draw: Draw, size: float, power: float, random: np.random.Generator) -> float:
        """Metropolis' step, and the share taken: the proposal keeps the paths' own law, so that the likelihood decides."""
        noise = from_array(random.standard_normal(self.normal.shape)).to(self.normal.dtype)
        moved = math.sqrt(1 - size**2) * self.normal + size * noise
        tried, promise = draw(moved)
        taken: Any = np.log(random.random(len(promise))) < power * (promise - self.likely)
        self.normal[from_array(taken)] = moved[from_array(taken)]
        self.drawn[taken], self.likely[taken] = tried[taken], promise[taken]
        return float(taken.mean())


def bridged(draw: Draw, normal: Tensor, random: np.random.Generator) -> tuple[Any, Any]:
    """Paths [paths, steps] and their weights, which sum to 1; copies of a path count as one."""
    drawn, likely = draw(normal)
    cloud, power, size = _Cloud(normal=normal, drawn=drawn, likely=likely), 0.0, FIRST
    for _ in range(ROUNDS):
        raised = _raised(cloud.likely, power)
        if raised == 1 and not power:  # the sides agree
            break
        cloud.keep(_resampled(_shares((raised - power) * cloud.likely), random))
        power = raised
        for _ in range(MOVES):
            taken = cloud.move(draw, size, power, random)
            size = min(size * (1.2 if taken > TAKEN else 0.7), FIRST)
        if power == 1:
            break
    return _merged(cloud.drawn, _shares((1 - power) * cloud.likely))


def _raised(likely: Any, power: float) -> float:
    """The power of the likelihood that leaves half of the paths' worth, at most 1."""
    low, high, least = power, 1.0, len(likely) / 2
    if worth_of(_shares((1 - power) * likely)) >= least:
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = worth_of(_shares((middle - power) * likely)) >= least
        low, high = (middle, high) if enough else (low, middle)
    return low


def _shares(logs: Any) -> Any:
    weight = np.exp(logs - logs.max())
    return weight / weight.sum()


def worth_of(weights: Any) -> float:
    """How many equally weighted paths they are worth."""
    return float(1 / (weights**2).sum())


def _resampled(weights: Any, random: np.random.Generator) -> Any:
    """Which paths go on, systematically: each about as often as its weight says."""
    places = (random.random() + np.arange(len(weights))) / len(weights)
    return np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)


def _merged(drawn: Any, weights: Any) -> tuple[Any, Any]:
    paths, place = np.unique(drawn, axis=0, return_inverse=True)
    return paths, np.bincount(place.reshape(-1), weights, len(paths))
