"""LayerNorm and RMSNorm whose backward pass also finds each example's squared gradient norm."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from forescale.noise._kinds._linear import by_example, once, wide
from forescale.noise._kinds._records import record, squared

linalg: Any = torch.linalg
aten: Any = torch.ops.aten
# Elements an example from which one call of the fused kernel each is the faster way, measured.
LARGE = 2**16


class TrackedLayerNorm(torch.autograd.Function):
    """LayerNorm over the last dimension of `x` (examples, ..., size); the gradient of `slot` is the examples' record."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, slot: Tensor) -> Tensor:
        y, mean, rstd = aten.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd, slot)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, bias, mean, rstd, slot = ctx.saved_tensors
        once(ctx)
        grad = grads[0].contiguous()
        need = (ctx.needs_input_grad[1], ctx.needs_input_grad[2])
        if need == (True, bias is not None) and fused(grad):
            from forescale.noise.kernels import norm_backward

            found = norm_backward(grad, x, weight, mean, rstd, bias=need[1], centred=True)
            return *found[:3], None, record(found[3], slot)
        dx = aten.native_layer_norm_backward(grad, x, weight.shape, mean, rstd, weight, bias, [True, False, False])[0]
        rows = each_example(grad, x, mean, rstd, need)
        norms = torch.stack([squared(each) for each in rows if each is not None]).sum(0)
        return dx, *(None if each is None else each.sum(0).to(weight.dtype) for each in rows), None, record(norms, slot)


class TrackedRMSNorm(torch.autograd.Function):
    """RMSNorm over the last dimension of `x` (examples, ..., size), as the trainer's own; see `TrackedLayerNorm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, slot: Tensor) -> Tensor:
        size = linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide(x.dtype))
        rstd = size.square().div(x.shape[-1]).add(eps).rsqrt()
        ctx.save_for_backward(x, weight, rstd, slot)
        return (x * rstd * weight).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, rstd, slot = ctx.saved_tensors
        once(ctx)
        grad = grads[0].contiguous()
        if ctx.needs_input_grad[1] and fused(grad):
            from forescale.noise.kernels import norm_backward

            dx, dweight, _, norms = norm_backward(grad, x, weight, None, rstd, bias=False, centred=False)
            return dx, dweight, None, record(norms, slot)
        kind, zero = x.dtype, torch.zeros_like(rstd)
        x, grad, weight = (each.to(rstd.dtype) for each in (x, grad, weight))
        # LayerNorm with mean 0 has this gradient, apart from the term that comes from subtracting the mean.
        dx = aten.native_layer_norm_backward(grad, x, weight.shape, zero, rstd, weight, None, [True, False, False])[0]
        dx = dx + (grad @ weight).unsqueeze(-1) * (rstd / x.shape[-1])
        rows, _ = each_example(grad, x, zero, rstd, (ctx.needs_input_grad[1], False))
        if rows is None:
            return dx.to(kind), None, None, record(rstd.new_zeros(x.shape[0]), slot)
        return dx.to(kind), rows.sum(0), None, record(squared(rows), slot)


def fused(grad: Tensor) -> bool:
    """Whether one Triton kernel takes the whole backward pass."""
    return grad.is_cuda and grad.dtype != torch.float64 and not torch.compiler.is_compiling() and _triton()


@cache
def _triton() -> bool:
    return find_spec("triton") is not None


def each_example(
    grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, need: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Each example's gradient of weight and bias, (examples, size), where needed."""
    x3, g3 = by_example(x), by_example(grad)
    mean, rstd = (each.reshape(*x3.shape[:2], 1) for each in (mean, rstd))
    if x.device.type == "cpu" and x3[0].numel() >= LARGE and not torch.compiler.is_compiling():
        return _one_by_one(g3, x3, mean, rstd, need)
    rows = ((x3 - mean) * rstd * g3).sum(1) if need[0] else None
    return rows, g3.sum(1) if need[1] else None


def _one_by_one(
    g3: Tensor, x3: Tensor, mean: Tensor, rstd: Tensor, need: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    size = (x3.shape[-1],)
    ones = x3.new_ones(size)
    found = [
        aten.native_layer_norm_backward(g, x, size, m, r, ones, ones, [False, *need])[1:]
        for g, x, m, r in zip(g3, x3, mean, rstd, strict=True)
    ]
    weights, biases = zip(*found, strict=True)
    return torch.stack(weights) if need[0] else None, torch.stack(biases) if need[1] else None
