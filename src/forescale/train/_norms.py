"""RMSNorm and LayerNorm, with an RMSNorm for the CPU that is faster than PyTorch's own."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

linalg: Any = torch.linalg  # its functions have no types
aten: Any = torch.ops.aten


def make_norm(kind: Literal["rms", "layer"], size: int, eps: float) -> nn.Module:
    """A norm over the last dimension, of length `size`; a LayerNorm has a bias."""
    return RMSNorm(size, eps) if kind == "rms" else nn.LayerNorm(size, eps)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * weight over the last dimension (Zhang & Sennrich 2019)."""

    noise_rules = {"forward": "rms_norm"}  # noqa: RUF012  # read by forescale.noise, never changed

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape that ends in `size`; the answer has its shape and dtype."""
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Size and eps, for `print(model)`."""
        return f"{self.weight.numel()}, eps={self.eps}"


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension by the fastest way there is where `x` lies."""
    if x.device.type == "cpu" and x.dtype == weight.dtype and not torch.compiler.is_compiling():
        return _RMSNorm.apply(x, weight, eps)  # type: ignore[no-any-return]  # torch leaves `apply` untyped
    if x.dtype == weight.dtype:
        return functional.rms_norm(x, weight.shape, weight, eps)
    return functional.rms_norm(x.to(weight.dtype), weight.shape, weight, eps).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """On the CPU `F.rms_norm` is made of many small kernels; this one borrows LayerNorm's fused backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rstd = linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        return torch.mul(x, rstd).mul_(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, rstd = ctx.saved_tensors
        grad = grads[0]
        # LayerNorm with mean 0 has this gradient, apart from the term that comes from subtracting the mean.
        dx, dweight, _ = aten.native_layer_norm_backward(
            grad, x, weight.shape, torch.zeros_like(rstd), rstd, weight, None, [True, True, False]
        )
        mean = (grad @ weight).unsqueeze(-1).mul_(rstd).div_(x.shape[-1])
        return dx.add_(mean), dweight, None
