"""How a meter follows modules: one function a kind, run instead of the module's own method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forescale.errors import ForescaleError
from forescale.noise._kinds._experts import TrackedExperts, sizes_of
from forescale.noise._kinds._known import Seen
from forescale.noise._kinds._linear import ELEMENT, TrackedLinear
from forescale.noise._kinds._norms import TrackedLayerNorm, TrackedRMSNorm
from forescale.noise._kinds._tables import CountedPositions, PerExample, TrackedEmbedding

if TYPE_CHECKING:
    from forescale.noise._site import Site

Rule = Callable[..., Any]


def linear(site: Site, x: Tensor) -> Tensor:
    """A linear layer; rows that are tokens of all examples one after another are put together by example."""
    module: Any = site.module
    weight = module.weight.T if site.transposed else module.weight
    mask = getattr(module, "weight_mask", None)
    x, weight, bias = _cast(x, weight, getattr(module, "bias", None))
    shaped = _by_example(x, site)
    link, ids = site.link()
    element = ELEMENT.get(x.device.type, ELEMENT["cuda"])
    # With one position an example there is nothing to count, and a gradient of 0 may be a loss that is flat there.
    counts = site.counts if shaped.shape[1:-1].numel() > 1 else None
    y = _apply(TrackedLinear, shaped, weight, bias, site.slot, counts, mask, link, ids, element)
    return y if shaped is x else y.flatten(0, 1)


def embedding(site: Site, ids: Tensor) -> Tensor:
    """A table of vectors; positions, which are the same for all examples, are looked up once an example."""
    module: Any = site.module
    rows = ids if site.meter.examples is None else _ids_by_example(ids, site.meter.examples, site.meter.length or 1)
    y, link = _apply(
        TrackedEmbedding, rows, module.weight, site.slot, getattr(module, "padding_idx", None), site.head is not None
    )
    site.made(link, rows)
    return y.view(*ids.shape, -1) if rows.numel() == ids.numel() else y


def counted(site: Site, y: Tensor) -> Tensor:
    """The output of a head that is not followed itself, and says which positions have a loss."""
    shaped = _by_example(y, site)
    if shaped.shape[1:-1].numel() == 1:
        return y
    return _apply(CountedPositions, shaped, site.counts).view(y.shape)


def layer_norm(site: Site, x: Tensor) -> Tensor:
    """LayerNorm, in the type that torch would use."""
    module: Any = site.module
    x = x.float() if x.is_cuda and torch.is_autocast_enabled("cuda") else x
    shaped = _by_example(x, site)
    y = _apply(TrackedLayerNorm, shaped, module.weight, getattr(module, "bias", None), site.eps, site.slot)
    return y.reshape(x.shape)


def rms_norm(site: Site, x: Tensor) -> Tensor:
    """RMSNorm in the weight's type."""
    weight: Any = site.module.weight
    eps = torch.finfo(x.dtype).eps if site.eps is None else site.eps
    y = _apply(TrackedRMSNorm, _by_example(x, site).to(weight.dtype), weight, eps, site.slot)
    return y.to(x.dtype).reshape(x.shape)


def broadcast(site: Site, x: Tensor, *rest: Any, **named: Any) -> Any:
    """A module that multiplies and adds its vectors elementwise: its own forward pass, with a vector an example."""
    given, x = x, _by_example(x, site)
    shape = (x.shape[0], *(1 for _ in range(x.dim() - 2)))
    vectors = {
        name: _apply(PerExample, vector, site.slots[i], (*shape, vector.shape[0]))
        for i, (name, vector) in enumerate(site.vectors.items())
    }
    seen: Any = Seen(site.module, vectors)  # stands in for the module
    return type(site.module).forward(seen, x, *rest, **named).reshape(given.shape)


def experts(site: Site, x: Tensor, which: str, counts: Tensor, tokens: Tensor) -> Tensor:
    """A bank of experts: `x` is ordered by expert, and `tokens` says which token each row is of."""
    module: Any = site.module
    examples = site.needed_examples()
    length = site.meter.length or 1
    weight, bias = getattr(module, which), getattr(module, which + "_bias")
    x, weight, bias = _cast(x, weight, bias)
    sizes = sizes_of(counts, tokens // length, examples)
    slot = site.slots[0 if which == "input" else 1]
    return _apply(TrackedExperts, x, weight, bias, getattr(module, which + "_mask"), sizes, slot)


RULES: Mapping[str, Rule] = {
    "linear": linear,
    "embedding": embedding,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "broadcast": broadcast,
    "scale": broadcast,
    "experts": experts,
}
KINDS = {
    "layer_norm": "norm",
    "rms_norm": "norm",
    "broadcast": "norm",
}  # of parameters, where they differ from the rule


def _apply(function: Any, *arguments: Any) -> Any:
    """What torch has no types for."""
    return function.apply(*arguments)


def _cast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What autocast does to a linear layer."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(kind)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _by_example(x: Tensor, site: Site) -> Tensor:
    """(examples, ..., size), of rows that may be all tokens one after another."""
    if x.dim() > 2:
        return x
    examples, length = site.meter.examples, site.meter.length
    if examples is None or len(x) == examples:
        return x.unsqueeze(1)
    if len(x) != examples * (length or 1):
        raise ForescaleError(
            f"a noise meter needs the batch dimension first; {site.name} got {len(x)} rows of {examples} examples of length "
            f"{length}: leave the module out by `layers`, or pass it (examples, ..., features)."
        )
    return x.reshape(examples, -1, x.shape[-1])


def _ids_by_example(ids: Tensor, examples: int, length: int) -> Tensor:
    """(examples, ...), of ids that may be those of positions, or of all tokens one after another."""
    if ids.dim() > 1:
        shared = ids.shape[0] != examples and ids.shape[:-1].numel() == 1
        return ids.expand(examples, ids.shape[-1]) if shared else ids
    if len(ids) == examples * length or (len(ids) == examples and len(ids) != length):
        return ids.view(examples, -1)
    return ids.expand(examples, len(ids))
