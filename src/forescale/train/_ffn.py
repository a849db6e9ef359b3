"""Feed-forward layers: dense ones, and mixtures of experts with token-choice routing."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.train._masks import Linear, add_mask, masked
from forescale.train._norms import at_least_float32
from forescale.train._options import Activation, ModelOptions
from forescale.workload import Experts, Shape


class FFN(nn.Module):
    """A dense feed-forward layer; where it is gated, `input.weight` holds the gate and then the up-projection."""

    def __init__(
        self, width: int, hidden: int, *, gated: bool, activation: Activation, bias: bool, masked: bool
    ) -> None:
        super().__init__()
        self.gated = gated
        self.activation: Activation = activation
        self.input = Linear(width, hidden * (2 if gated else 1), bias=bias, masked=masked)
        self.output = Linear(hidden, width, bias=bias, masked=masked)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        return self.output(activate(self.input(x), self.activation, self.gated))


def activate(x: Tensor, activation: Activation, gated: bool) -> Tensor:
    """The nonlinearity of an FFN; if gated, of the first half of the last dimension, times the second half."""
    if gated:
        gate, up = x.chunk(2, -1)
        return activate(gate, activation, False) * up
    if activation == "gelu":
        return functional.gelu(x)
    return functional.silu(x) if activation == "silu" else functional.relu(x).square()


def ffn_width(shape: Shape) -> int:
    """The hidden width of the dense FFN, which a `Shape` may leave to its default."""
    if shape.ffn_width is not None:
        return shape.ffn_width
    one = replace(shape, layers=1, experts=None, ffn_bias=False)
    matrices = 3 if shape.gated else 2
    return next(part.params for part in one.parts() if part.name == "ffn") // (matrices * shape.width)


def make_ffn(shape: Shape, options: ModelOptions, layer: int, masked: bool) -> FFN | ExpertFFN:
    """The feed-forward layer of block `layer`."""
    if shape.experts is not None and layer >= shape.experts.dense_layers:
        return ExpertFFN(shape, shape.experts, options, masked)
    activation = activation_of(shape, options)
    return FFN(
        shape.width, ffn_width(shape), gated=shape.gated, activation=activation, bias=shape.ffn_bias, masked=masked
    )


def activation_of(shape: Shape, options: ModelOptions) -> Activation:
    """The activation that `options` name, or else the usual one."""
    return options.activation or ("silu" if shape.gated else "gelu")


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
        counts = torch.bincount(chosen.flatten(), minlength=probabilities.shape[-1])
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
        token = order // chosen.shape[1]
        sizes = cast("list[int]", counts.tolist())  # pyright: ignore[reportUnknownMemberType]
        inputs = torch.split(x[token], sizes)
        outputs = [self._expert(*one) for one in zip(inputs, *self._per_expert(), strict=True)]
        y = torch.cat(outputs) * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(x).index_add(0, token, y.to(x.dtype))

    def _per_expert(self) -> list[tuple[Tensor | None, ...]]:
        # unbind has one gradient for all experts, where indexing would fill a tensor of the whole size for each.
        weights = (masked(self.input, self.input_mask), masked(self.output, self.output_mask))
        biases = (self.input_bias, self.output_bias)
        return [
            *(w.unbind() for w in weights),
            *((None,) * len(self.input) if b is None else b.unbind() for b in biases),
        ]

    def _expert(self, x: Tensor, up: Tensor, down: Tensor, up_bias: Tensor | None, down_bias: Tensor | None) -> Tensor:
        return functional.linear(
            activate(functional.linear(x, up, up_bias), self.activation, self.gated), down, down_bias
        )
