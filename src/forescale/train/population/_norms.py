"""RMSNorm with a weight a member."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forescale.train._norms import aten, linalg


def stacked_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of `x` (members, rows, size) by `weight` (members, size); in the dtype of `x`."""
    if x.device.type == "cpu" and x.dtype == weight.dtype and not torch.compiler.is_compiling():
        return _RMSNorms.apply(x, weight, eps)  # type: ignore[no-any-return]  # torch leaves `apply` untyped
    normed = functional.rms_norm(x.to(weight.dtype), x.shape[-1:], eps=eps)
    return (normed * weight.unsqueeze(1)).to(x.dtype)


class _RMSNorms(torch.autograd.Function):
    """On the CPU, as the one of a single model: by LayerNorm's fused backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rstd = linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        return torch.mul(x, rstd).mul_(weight.unsqueeze(1))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, rstd = ctx.saved_tensors
        grad = grads[0]
        dweight = torch.mul(x, rstd).mul_(grad).sum(1)
        scaled = grad * weight.unsqueeze(1)
        # LayerNorm with mean 0 has this gradient, apart from the term that comes from subtracting the mean.
        dx, _, _ = aten.native_layer_norm_backward(
            scaled, x, x.shape[-1:], torch.zeros_like(rstd), rstd, None, None, [True, False, False]
        )
        return dx.add_(scaled.mean(-1, keepdim=True).mul_(rstd)), dweight, None
