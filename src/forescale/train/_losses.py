"""What a batch costs: cross entropy in nats per token, and the z-loss on the softmax's denominator."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

SMALL = 1 << 17  # logits; with fewer, one call of PyTorch's costs less than the calls that the function here makes
TINY = 1e-30  # a probability below this is too close to float32's least to take its logarithm


class Losses(NamedTuple):
    """What a batch costs, in float32: scalars, or one number a model."""

    objective: Tensor  # what training minimises: the loss and its z-loss and balance terms
    loss: Tensor  # mean nats per token


def cross_entropy(logits: Tensor, targets: Tensor, z_loss: float) -> Losses:
    """The mean loss of `logits` (..., tokens, vocab) for `targets` (..., tokens), each of which counts, and its objective.

    Models that stand before the tokens have losses of their own. The objective adds `z_loss` * mean(logsumexp²), as in
    PaLM (2022). On the CPU the gradient is formed at once.
    """
    grad = torch.is_grad_enabled() and logits.requires_grad
    cpu = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    if grad and cpu and (z_loss or logits.numel() >= SMALL):
        return Losses(*cast("Any", _CrossEntropy).apply(logits, targets, z_loss))
    loss = _mean_nats(logits, targets)
    objective = loss + z_loss * logits.logsumexp(-1).square().mean(-1) if z_loss else loss
    return Losses(objective, loss.detach())


def _mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    if targets.dim() == 1:
        return functional.cross_entropy(logits, targets)
    nats = functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return nats.view(targets.shape).mean(-1)


class _CrossEntropy(torch.autograd.Function):
    """One pass for the softmax, which then becomes the gradient in place."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
        target, share = targets.unsqueeze(-1), 1 / targets.shape[-1]
        grad = logits.softmax(-1)
        p = grad.gather(-1, target)
        nats = _nats(logits, target, p)
        loss = nats.mean((-2, -1))
        if z_loss:
            log_sum = logits.gather(-1, target).add_(nats)
            grad.mul_(log_sum.mul(2 * z_loss).add_(1).mul_(share))
            grad.scatter_add_(-1, target, torch.full_like(p, -share))
            objective = loss + z_loss * log_sum.square().mean((-2, -1))
        else:
            grad.mul_(share).scatter_(-1, target, p.sub_(1).mul_(share))
            objective = loss.clone()
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(loss)
        return objective, loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = ctx.saved_tensors
        plain = bool((grads[0] == 1).all())
        return (grad if plain else grad * grads[0][..., None, None]), None, None


def _nats(logits: Tensor, target: Tensor, p: Tensor) -> Tensor:
    if float(p.min()) < TINY:
        return logits.logsumexp(-1, keepdim=True) - logits.gather(-1, target)
    return p.log().neg_()
