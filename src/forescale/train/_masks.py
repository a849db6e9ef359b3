"""Static random sparsity: a boolean mask beside each hidden matrix, and the linear layer that heeds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

SUFFIX = "_mask"  # the mask of a parameter `weight` is the buffer `weight_mask`


class Linear(nn.Module):
    """x @ weight.T + bias, with `weight` (outputs, inputs); a masked one leaves out the weights whose mask is false."""

    bias: nn.Parameter | None
    weight_mask: Tensor | None
    noise_rules = {"forward": "linear"}  # noqa: RUF012  # how forescale.noise follows its gradient

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, masked: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.register_parameter("bias", nn.Parameter(torch.empty(outputs)) if bias else None)
        add_mask(self, "weight", masked)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return functional.linear(x, masked(self.weight, self.weight_mask), self.bias)

    def extra_repr(self) -> str:
        """Sizes, for `print(model)`."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, bias={self.bias is not None}, masked={self.weight_mask is not None}"


def add_mask(module: nn.Module, name: str, wanted: bool) -> None:
    """Put an all-true mask beside the parameter `name`, or None; a mask is part of the state_dict."""
    weight = module.get_parameter(name)
    mask = torch.ones(weight.shape, dtype=torch.bool, device=weight.device) if wanted else None
    module.register_buffer(name + SUFFIX, mask)


def masked(weight: Tensor, mask: Tensor | None) -> Tensor:
    """The weight as the forward pass sees it; its gradient is masked alike."""
    return weight if mask is None else weight * mask


def masked_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """The name, weight and mask of every masked parameter."""
    masks = dict(model.named_buffers())
    for name, weight in model.named_parameters():
        if (mask := masks.get(name + SUFFIX)) is not None:
            yield name, weight, mask


@torch.no_grad()
def draw_masks_(model: nn.Module, density: float, seed: int) -> None:
    """Keep each masked weight with probability `density`; the draw depends on `seed` and the parameter's name alone."""
    for name, weight, mask in masked_weights(model):
        generator = torch.Generator().manual_seed(_seed(seed, name))
        mask.copy_(torch.rand(weight.shape, generator=generator) < density)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big", signed=True)


@torch.no_grad()
def apply_masks_(model: nn.Module) -> None:
    """Set the weights that are masked out to zero; the forward pass is the same with and without this."""
    for _, weight, mask in masked_weights(model):
        weight.mul_(mask)


def mask_density(model: nn.Module) -> float:
    """The share of the masked matrices' weights that are kept; 1 for a model without masks."""
    pairs = [(int(mask.sum()), mask.numel()) for _, _, mask in masked_weights(model)]
    return sum(kept for kept, _ in pairs) / sum(total for _, total in pairs) if pairs else 1.0
