"""Dense feed-forward layers, and which feed-forward layer a block has."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional

from forescale.train._masks import Linear
from forescale.train._options import Activation, ModelOptions
from forescale.workload import Shape


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


def activation_of(shape: Shape, options: ModelOptions) -> Activation:
    """The activation that `options` name, or else the usual one."""
    return options.activation or ("silu" if shape.gated else "gelu")
