"""The sizes of a model that trainers have keys for, taken from a workload's shape."""

from __future__ import annotations

from collections.abc import Mapping

from forescale.plan.export._render import Item
from forescale.plan.export._values import Numbers
from forescale.workload import Shape


def sizes(n: Numbers, names: Mapping[str, str]) -> dict[str, Item]:
    """Target key -> size; `names` maps a size (layers, width, ...) to the target's key for it.

    Empty without a shape, and for mixtures of experts and latent attention, which need more than sizes.
    """
    shape = n.workload.shape
    if shape is None or shape.experts is not None or shape.latent is not None:
        return {}
    known = {
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads or shape.heads,
        "head_dim": shape.attention_width // shape.heads,
        "ffn_width": _ffn_width(shape),
        "vocab": shape.vocab,
    }
    return {key: Item(known[size], "workload shape") for size, key in names.items()}


def _ffn_width(shape: Shape) -> int:
    if shape.ffn_width is not None:
        return shape.ffn_width
    # The default width is the shape's own business; its exact parameter count gives it back.
    layer = next(p.params for p in shape.parts() if p.name == "ffn") // shape.layers
    inputs = 2 if shape.gated else 1
    bias = int(shape.ffn_bias)
    return int(layer - bias * shape.width) // ((inputs + 1) * shape.width + bias * inputs)
