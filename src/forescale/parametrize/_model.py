"""What the rules need to know of a model as a whole: its width, depth, head size, and multipliers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forescale.errors import ForescaleError
from forescale.parametrize._names import block_of, kind_of, unwrapped
from forescale.parametrize._roles import Tensor

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "heads")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "layers")
_CONFIGS = ("config", "shape", "model_args")
_SCALES = ("scaling", "attention_scale", "softmax_scale", "scale")


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
    config = next((c for name in _CONFIGS if (c := getattr(root, name, None)) is not None), None)
    width = _width(tensors)
    head_dim = _head_dim(config, root, width)
    return Model(
        tensors=tuple(_measured(t, width, head_dim) for t in tensors),
        width=width,
        layers=_layers(config, tensors),
        head_dim=head_dim,
        attention_scales=_attention_scales(root),
        residual=float(getattr(config, "residual_multiplier", None) or 1.0),
        logits=1 / float(getattr(config, "logits_scaling", None) or 1.0),
    )


def _measured(tensor: Tensor, width: int, head_dim: int | None) -> Tensor:
    """A norm on queries and keys that is longer than a head has a gain for every channel."""
    if tensor.role != "qk_norm":
        return tensor
    full = tensor.shape[-1] >= width if head_dim is None else tensor.shape[-1] > head_dim
    return replace(tensor, narrow=not full)


def _layers(config: Any, tensors: Sequence[Tensor]) -> int:
    """The number of blocks: what the configuration states, for names may count other modules, or what names show."""
    shown = len({block_of(t.name) for t in tensors if t.in_block})
    stated = _size(config, _LAYERS)
    if stated is None or not shown:
        return shown
    if shown < stated:
        raise ForescaleError(
            f"the depth is the number of blocks; the names of the parameters show {shown} and the configuration says "
            f"{stated}: correct the configuration, or pass the whole model with each block under a number of its own."
        )
    return stated


def _size(holder: Any, wanted: Sequence[str]) -> int | None:
    sizes = (getattr(holder, name, None) for name in wanted)
    return next((int(n) for n in sizes if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)


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
    """The size of a head, from the configuration, the model or its attention modules; None where nothing states it."""
    for holder in (config, root, *_attention_modules(root)):
        if size := _size(holder, ("head_dim",)):
            return size
        heads = _size(holder, _HEADS)
        if heads and width % heads == 0:
            return width // heads
    return None


def _attention_modules(root: Any) -> list[Any]:
    return [module for module in root.modules() if "attention" in kind_of(module).lower()]


def _attention_scales(root: Any) -> tuple[float, ...]:
    return tuple(
        sorted(
            {
                float(value)
                for module in _attention_modules(root)
                for name in _SCALES
                if isinstance(value := getattr(module, name, None), float)
            }
        )
    )
