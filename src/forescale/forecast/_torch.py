"""The parts of PyTorch that have no types, behind functions that do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

untyped: Any = torch


def from_array(array: Any) -> Tensor:
    """A tensor that shares an array's memory."""
    return untyped.from_numpy(array)


def set_seed(seed: int) -> None:
    """Of fresh weights and dropout."""
    untyped.manual_seed(seed)


def chunks(count: int, size: int) -> Iterator[Tensor]:
    """The numbers from 0 to count - 1, so many at a time."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def whole_numbers(values: Tensor) -> list[int]:
    """Integers of a one-dimensional tensor."""
    return [int(value) for value in values]


def normal_cdf(x: Tensor) -> Tensor:
    """P(X <= x) of the standard normal law."""
    return untyped.special.ndtr(x)


def normal_quantile(u: Tensor) -> Tensor:
    """The x with P(X <= x) = u."""
    return untyped.special.ndtri(u)


def parts(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Rows in groups of those sizes."""
    return list(untyped.split(values, list(sizes)))
