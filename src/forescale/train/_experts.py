"""Mixtures of experts with token-choice routing."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.train._ffn import FFN, activate, activation_of
from forescale.train._masks import SUFFIX, Linear, add_mask, masked
from forescale.train._norms import at_least_float32
from forescale.train._options import Activation, ModelOptions
from forescale.workload import Experts, Shape


class ExpertFFN(nn.Module):
    """A mixture of experts: each token goes to the `top_k` experts that its router scores highest.

    The weights are the router's softmax over all experts, rescaled to sum to 1 over the chosen ones (Mixtral 2024);
    with top_k 1 they stay the probability itself (Switch Transformer 2021), or the router would have no gradient.
    """

    load: Tensor

    def __init__(self, shape: Shape, experts: Experts, options: ModelOptions, masked: bool) -> None:
        super().__init__()
        self.top_k = experts.top_k
        activation = activation_of(shape, options)
        self.router = Linear(shape.width, experts.count, bias=experts.router_bias)
        self.experts = ExpertWeights(shape, experts, activation, masked)
        self.shared: FFN | None = None
        if experts.shared_width:
            self.shared = FFN(
                shape.width, experts.shared_width, gated=shape.gated, activation=activation,
                bias=experts.bias, masked=masked,
            )  # fmt: skip
        self.register_buffer("load", torch.zeros(experts.count), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., width) to the same, and the balance loss, a scalar.

        The balance loss is count * sum of (share of the assignments * mean probability) over the experts (Switch
        Transformer 2021, eq. 4): 1 where both are even, whatever `top_k`.
        """
        tokens = x.reshape(-1, x.shape[-1])
        probabilities = at_least_float32(self.router(tokens)).softmax(-1)
        weights, chosen = probabilities.topk(self.top_k)
        if self.top_k > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        experts = torch.arange(probabilities.shape[-1], device=x.device)
        counts = (chosen.reshape(-1, 1) == experts).sum(0)  # bincount would wait for a GPU
        share = counts / counts.sum()
        self.load.copy_(share)
        balance = len(share) * (share * probabilities.mean(0)).sum()
        y = self.experts(tokens, chosen, weights.to(x.dtype), counts)
        if self.shared is not None:
            y = y + self.shared(tokens)
        return y.view(x.shape), balance


class ExpertWeights(nn.Module):
    """The experts' matrices: `input` (count, hidden, width), gate before up where gated; `output` (count, width, hidden)."""

    input_bias: nn.Parameter | None
    output_bias: nn.Parameter | None
    input_mask: Tensor | None
    output_mask: Tensor | None
    noise_rules = {"linear": "experts"}  # noqa: RUF012  # read by forescale.noise, never changed

    def __init__(self, shape: Shape, experts: Experts, activation: Activation, masked: bool) -> None:
        super().__init__()
        self.gated = shape.gated
        self.activation: Activation = activation
        hidden = experts.width * (2 if shape.gated else 1)
        self.input = nn.Parameter(torch.empty(experts.count, hidden, shape.width))
        self.output = nn.Parameter(torch.empty(experts.count, shape.width, experts.width))
        bias = experts.bias
        self.register_parameter("input_bias", nn.Parameter(torch.empty(experts.count, hidden)) if bias else None)
        self.register_parameter("output_bias", nn.Parameter(torch.empty(experts.count, shape.width)) if bias else None)
        for name in ("input", "output"):
            add_mask(self, name, masked)

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
        """`x` (tokens, width); `chosen` and `weights` (tokens, top_k); `counts` (experts): tokens that each one got."""
        order = chosen.flatten().argsort(stable=True)
        back = order.argsort()
        copies = x.unsqueeze(1).expand(-1, chosen.shape[1], -1).reshape(-1, x.shape[1])
        tokens = order // chosen.shape[1]
        hidden = self.linear(permute(copies, order, back), "input", counts, tokens)
        outputs = self.linear(activate(hidden, self.activation, self.gated), "output", counts, tokens)
        y = permute(outputs, back, order).view(*chosen.shape, -1)
        return (y * weights.unsqueeze(-1)).sum(1).to(x.dtype)

    def linear(self, x: Tensor, which: str, counts: Tensor, tokens: Tensor) -> Tensor:  # noqa: ARG002
        """Each row of `x` (rows, inputs), ordered by expert, times its expert's matrix.

        `tokens` (rows) says whose row it is, for who follows the gradients of examples.
        """
        weight, bias = masked(getattr(self, which), getattr(self, which + SUFFIX)), getattr(self, which + "_bias")
        if _can_group(x, self.output):
            return _grouped_linear(x, weight, bias, counts)
        sizes = cast("list[int]", counts.tolist())  # pyright: ignore[reportUnknownMemberType]
        # unbind has one gradient for all experts, where indexing would fill a tensor of the whole size for each.
        biases = (None,) * len(weight) if bias is None else bias.unbind()
        parts = zip(torch.split(x, sizes), weight.unbind(), biases, strict=True)
        return torch.cat([functional.linear(*each) for each in parts])


def _can_group(x: Tensor, weight: Tensor) -> bool:
    """Whether one kernel computes all experts: on a GPU in bfloat16 and aligned, with a PyTorch that has it."""
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    aligned = all(size % 8 == 0 for size in weight.shape[1:])
    return x.is_cuda and dtype == torch.bfloat16 and aligned and hasattr(functional, "grouped_mm")


def _grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor) -> Tensor:
    """Row i of `x` times the matrix of its expert, by one kernel."""
    ends = counts.cumsum(0).int()
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    y: Tensor = cast("Any", functional).grouped_mm(x.to(dtype), weight.to(dtype).transpose(-2, -1), offs=ends)
    return y if bias is None else y + bias.repeat_interleave(counts, 0, output_size=len(x))


def permute(x: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """The rows of `x` in `order`, of which `back` is the inverse; no rows are added up in the backward pass."""
    return _Permutation.apply(x, order, back)  # type: ignore[no-any-return]  # torch leaves `apply` untyped


class _Permutation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (back,) = ctx.saved_tensors
        return grads[0].index_select(0, back), None, None
