"""A bank of experts' matrices, with each example's squared gradient norm over all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forescale.noise._kinds._linear import once, wide
from forescale.noise._kinds._records import record


class TrackedExperts(torch.autograd.Function):
    """`x` (rows, inputs), ordered by expert and then by example, times its expert's matrix.

    `weight` is (experts, outputs, inputs); `sizes` counts the rows of each expert and example, (experts, examples).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, sizes: Tensor, slot: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mask, sizes, slot)
        matrices = weight if mask is None else weight * mask
        biases = [None] * len(weight) if bias is None else bias
        parts: Any = torch.split(x, [int(n) for n in sizes.sum(1)])
        return torch.cat([functional.linear(*each) for each in zip(parts, matrices, biases, strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mask, sizes, slot = ctx.saved_tensors
        once(ctx)
        _, need_weight, need_bias = ctx.needs_input_grad[:3]
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        dbias = weight.new_zeros(weight.shape[:2]) if need_bias else None
        norms = torch.zeros(sizes.shape[1], dtype=wide(x.dtype), device=x.device)
        pieces = zip(x.split(sizes.flatten().tolist()), grads[0].split(sizes.flatten().tolist()), strict=True)
        start = 0
        for i, (rows, grad) in enumerate(pieces):
            expert, example = divmod(i, sizes.shape[1])
            kept = 1 if mask is None else mask[expert]
            dx[start : start + len(rows)] = grad @ (weight[expert] * kept)
            start += len(rows)
            if need_weight:
                one = grad.T @ rows * kept
                norms[example] += one.to(norms.dtype).square().sum()
                dweight[expert] += one
            if dbias is not None:
                norms[example] += grad.sum(0).to(norms.dtype).square().sum()
                dbias[expert] += grad.sum(0)
        return dx, dweight if need_weight else None, dbias, None, None, record(norms, slot)


def sizes_of(counts: Tensor, example: Tensor, examples: int) -> Tensor:
    """(experts, examples) rows, of `counts` (experts,) and the example of each row, ordered by expert."""
    expert = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return (expert * examples + example).bincount(minlength=len(counts) * examples).view(-1, examples)
