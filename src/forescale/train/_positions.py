"""Rotary and ALiBi positions: their tables, and how queries and keys are turned."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def rotary_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * base**(-2i / head_dim), each (length, head_dim / 2) (Su et al. 2021, eq. 15)."""
    rates = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), rates)
    return angles.cos().float(), angles.sin().float()


def rotary_turn(cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """What `rotate` takes for all layers of a forward pass: complex numbers on the CPU, cosines and sines elsewhere."""
    if cos.device.type == "cpu" and cos.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling():
        return torch.complex(cos, sin).unsqueeze(1).expand(-1, heads, -1).contiguous()
    return torch.stack((cos, sin)).unsqueeze(2)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn `x` (batch, length, heads, head_dim) by its positions; pairs are i and i + head_dim / 2, as in Llama.

    With a complex `turn` the halves of a pair come out next to each other: the products of queries and keys, which are
    all that counts, are the same.
    """
    if turn.is_complex() and x.dtype == turn.real.dtype:
        return _Rotation.apply(x, turn[:, : x.shape[2]])  # type: ignore[no-any-return]  # torch leaves `apply` untyped
    cos, sin = (turn[:, :1].real, turn[:, :1].imag) if turn.is_complex() else turn
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


class _Rotation(torch.autograd.Function):
    """As a product of complex numbers: one pass over memory where the products of halves take six."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turn: Tensor) -> Tensor:
        ctx.save_for_backward(turn)
        return torch.view_as_real(torch.complex(*x.chunk(2, -1)).mul_(turn)).flatten(-2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (turn,) = ctx.saved_tensors
        grad = torch.view_as_complex(grads[0].contiguous().unflatten(-1, (-1, 2))) * turn.conj_physical()
        return torch.cat((grad.real, grad.imag), -1), None


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
