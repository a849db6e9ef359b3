"""Where the loss of a size is lowest over the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The best learning rate of one size: the vertex of a parabola in log learning rate through the lowest mean losses."""

    size: float
    learning_rate: float
    low: float  # over the seeds' own minima; equal to high with one seed
    high: float
    loss: float
    edge: bool  # at an end of the grid: the best rate may lie beyond
    base_rate_loss_gap_percent: float = 0.0  # what the base's best rate costs here
    drift: float = 0.0  # octaves from the base's best rate


def find_minimum(size: float, losses: Mapping[float, Sequence[float]]) -> Minimum:
    """The minimum of `losses` (learning rate -> a loss a seed, infinite where it diverged)."""
    rates = sorted(losses)
    best, loss, edge = vertex(rates, [fmean(losses[rate]) for rate in rates])
    seeds = len(losses[rates[0]])
    own = [vertex(rates, [losses[rate][seed] for rate in rates])[0] for seed in range(seeds)]
    return Minimum(size=size, learning_rate=best, low=min(own), high=max(own), loss=loss, edge=edge)


def vertex(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, float, bool]:
    """The best rate, its loss, and whether it is an end of the finite part of the grid with nothing worse beyond."""
    at = min(range(len(losses)), key=lambda i: losses[i])
    edge = at in (0, len(losses) - 1)
    if edge or not all(math.isfinite(losses[i]) for i in (at - 1, at, at + 1)):
        return rates[at], losses[at], edge
    return (*parabola([math.log(rates[i]) for i in (at - 1, at, at + 1)], losses[at - 1 : at + 2]), False)


def parabola(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Exp of where the parabola through three points is lowest, and its height there (the middle one is the lowest)."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (right - left) / (x[2] - x[0])
    if bend <= 0:
        return math.exp(x[1]), y[1]
    lowest = (x[0] + x[1]) / 2 - left / (2 * bend)
    return math.exp(lowest), y[1] + (lowest - x[1]) * (left + bend * (lowest - x[0]))


def loss_at(rate: float, losses: Mapping[float, Sequence[float]]) -> float:
    """The mean loss at a rate between those of the grid, straight in log rate; the nearest end's beyond it."""
    rates = sorted(losses)
    means = [fmean(losses[r]) for r in rates]
    if rate <= rates[0]:
        return means[0]
    for i in range(1, len(rates)):
        if rate <= rates[i]:
            share = math.log(rate / rates[i - 1]) / math.log(rates[i] / rates[i - 1])
            if not math.isfinite(means[i]):
                return means[i - 1] if share < 1e-9 else means[i]
            return means[i - 1] + share * (means[i] - means[i - 1])
    return means[-1]
