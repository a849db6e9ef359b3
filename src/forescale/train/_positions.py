"""Rotary and ALiBi positions: their tables, and how queries and keys are turned."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotary_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * base**(-2i / head_dim), each (length, head_dim / 2) (Su et al. 2021, eq. 15)."""
    rates = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), rates)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` (..., length, heads, head_dim) by its positions; pairs are i and i + head_dim / 2, as in Llama.

    `cos` and `sin` are (length, 1, head_dim / 2).
    """
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def alibi_slopes(heads: int) -> list[float]:
    """One slope a head: 2**(-8i / n) for n heads, n a power of two (Press et al. 2022, section 3).

    For other numbers, the slopes of the power of two below and then every second one of the power above, as in the
    authors' code.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2.0 ** (-4 * i / power) for i in range(1, 2 * power + 1, 2)]
    return slopes + between[: heads - power]


def alibi_bias(length: int, heads: int) -> Tensor:
    """What ALiBi adds to the scores, (heads, length, length): -slope * distance, and -inf for later keys."""
    steps = torch.arange(length)
    distance = (steps[:, None] - steps[None, :]).float()
    bias = -torch.tensor(alibi_slopes(heads))[:, None, None] * distance
    return bias.masked_fill_(distance < 0, -math.inf)
