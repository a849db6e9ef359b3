"""An embedding, and parameters that are broadcast over positions, with each example's squared gradient norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forescale.noise._kinds._linear import once
from forescale.noise._kinds._records import record, squared


class TrackedEmbedding(torch.autograd.Function):
    """The rows `ids` (examples, length) of `weight`, and a link whose gradient a tied head fills in.

    The gradient of `slot` is the examples' record; with a link, it holds the cross term of the tied pair too.
    """

    @staticmethod
    def forward(
        ctx: Any, ids: Tensor, weight: Tensor, slot: Tensor, padding: int | None, tied: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids, slot)
        ctx.count, ctx.padding, ctx.tied = weight.shape[0], padding, tied
        link = weight.new_zeros(()).expand(*ids.shape, weight.shape[1]) if tied else weight.new_zeros(())
        return functional.embedding(ids, weight), link

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        ids, slot = ctx.saved_tensors
        once(ctx)
        grad, head = grads
        if ctx.padding is not None:
            grad = grad.masked_fill((ids == ctx.padding).unsqueeze(-1), 0.0)
        flat = ids.reshape(ids.shape[0], -1)
        g3 = grad.reshape(*flat.shape, -1)
        norms = squared(by_token(flat, g3))
        if ctx.tied:
            norms = norms + 2 * (g3 * head.reshape(g3.shape)).flatten(1).sum(1)
        padding = -1 if ctx.padding is None else ctx.padding
        dweight = torch.ops.aten.embedding_dense_backward(grad, ids, ctx.count, padding, False)
        return None, dweight, record(norms, slot), None, None


def by_token(ids: Tensor, grad: Tensor) -> Tensor:
    """(examples, length, width) gradients added up over equal ids of an example; the rows that are left over are 0."""
    ordered, order = ids.sort(1)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    row = torch.empty_like(order).scatter_(1, order, first.cumsum(1) - 1)
    at = row + ids.shape[1] * torch.arange(ids.shape[0], device=ids.device).unsqueeze(1)
    total = torch.zeros_like(grad).flatten(0, 1)
    return total.index_add(0, at.flatten(), grad.flatten(0, 1)).view(grad.shape)


class PerExample(torch.autograd.Function):
    """A vector as (examples, 1, ..., size), so that whatever multiplies or adds it has a gradient an example."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, slot: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(slot)
        return parameter.expand(shape).clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slot,) = ctx.saved_tensors
        once(ctx)
        rows = grads[0].flatten(1)
        if not ctx.needs_input_grad[0]:
            return None, record(rows.new_zeros(len(rows)), slot), None
        return rows.sum(0), record(squared(rows), slot), None


class CountedPositions(torch.autograd.Function):
    """`x` (examples, ..., size); the gradient of `slot` is how many positions of each example have a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slot,) = ctx.saved_tensors
        once(ctx)
        return grads[0], record(grads[0].any(-1).flatten(1).sum(1), slot)
