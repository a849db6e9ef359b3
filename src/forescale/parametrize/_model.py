"""What the rules need to know of a model as a whole: its width, depth, head size, and multipliers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forescale.errors import ForescaleError
from forescale.parametrize._names import unwrapped
from forescale.parametrize._roles import Tensor, block_of

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "heads")
_SCALES = ("scaling", "attention_scale", "softmax_scale")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's own sizes and multipliers; None where nothing states them."""

    tensors: tuple[Tensor, ...]
    width: int
    layers: int
    head_dim: int | None
    attention_scales: tuple[float, ...]  # of its attention modules, where they state one
    residual: float = 1.0  # its own multiplier on residual branches
    logits: float = 1.0  # its own multiplier on the logits


def read_model(model: Any, tensors: tuple[Tensor, ...]) -> Model:
    """Read sizes from the tensors, and what shapes cannot say from the configuration and the modules."""
    root = unwrapped(model)
    config = getattr(root, "config", None) or getattr(root, "shape", None)
    width = _width(tensors)
    head_dim = _head_dim(config, root, width)
    return Model(
        tensors=tuple(_measured(t, head_dim) for t in tensors),
        width=width,
        layers=len({block_of(t.name) for t in tensors if t.in_block}),
        head_dim=head_dim,
        attention_scales=_attention_scales(root),
        residual=float(getattr(config, "residual_multiplier", None) or 1.0),
        logits=1 / float(getattr(config, "logits_scaling", None) or 1.0),
    )


def _measured(tensor: Tensor, head_dim: int | None) -> Tensor:
    """A norm on queries and keys that is longer than a head has a gain for every channel."""
    return replace(tensor, full_width=tensor.role == "qk_norm" and head_dim is not None and tensor.shape[-1] > head_dim)


def _width(tensors: Sequence[Tensor]) -> int:
    widths = {t.shape[-1] for t in tensors if t.role == "embedding"}
    if len(widths) != 1:
        found = f"embeddings of widths {sorted(widths)}" if widths else "none"
        raise ForescaleError(
            f"the width is that of the one token embedding; got {found}: declare the embedding with "
            "roles={'NAME': 'embedding'}."
        )
    return widths.pop()


def _head_dim(config: Any, root: Any, width: int) -> int | None:
    size = getattr(config, "head_dim", None)
    if isinstance(size, int) and size > 0:
        return size
    for holder in (config, root):
        for name in _HEADS:
            heads = getattr(holder, name, None)
            if isinstance(heads, int) and heads > 0 and width % heads == 0:
                return width // heads
    return None


def _attention_scales(root: Any) -> tuple[float, ...]:
    found: set[float] = set()
    for module in root.modules():
        if "attention" in type(module).__name__.lower():
            found |= {float(value) for name in _SCALES if isinstance(value := getattr(module, name, None), float)}
    return tuple(sorted(found))
