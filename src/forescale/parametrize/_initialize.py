"""Initial values that depend on a seed and a name alone."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.parametrize import _names as names

if TYPE_CHECKING:
    from forescale.parametrize._rules import Rule, Rules


def initialize(rules: Rules, model: Any, seed: int) -> None:
    """Draw every trainable parameter of `model` in place."""
    import torch

    root = names.unwrapped(model)
    by_name = {rule.tensor.name: rule for rule in rules.rules(model)}
    raw = dict(root.named_parameters())
    if meta := [name for name, p in raw.items() if p.is_meta]:
        raise ForescaleError(
            f"initial values need memory to stand in; {meta[0]} and {len(meta) - 1} more are on the meta device: call "
            "model.to_empty(device=...) first (after fully_shard, if you use it)."
        )
    with torch.no_grad():
        for name, parameter in raw.items():
            rule = by_name[names.plain_name(name)]
            if parameter.requires_grad:
                _fill(parameter, _padded(root, name, _values(rule, seed)))


def _values(rule: Rule, seed: int) -> Any:
    """The whole tensor, in float32 on the CPU."""
    import torch

    shape = rule.tensor.shape
    if rule.init_std is None:
        return torch.full(shape, rule.init_value, dtype=torch.float32, device="cpu")
    digest = blake2b(f"{seed}:{rule.tensor.name}".encode(), digest_size=8).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big") >> 1)
    values = torch.empty(shape, dtype=torch.float32, device="cpu")  # whatever defaults the caller has set
    return values.normal_(0.0, 1.0, generator=generator).mul_(rule.init_std)


def _fill(parameter: Any, values: Any) -> None:
    """Copy values into a parameter, or each rank's part of them into a sharded one."""
    if not hasattr(parameter, "device_mesh"):
        parameter.copy_(values)
        return
    from torch.distributed.tensor import distribute_tensor

    # Every rank has drawn the same values, so none needs to send them.
    whole = values.to(device=parameter.device, dtype=parameter.dtype)
    parameter.copy_(distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None))


def _padded(root: Any, name: str, values: Any) -> Any:
    """The row of an embedding's padding token stays zero, as torch keeps it."""
    index = getattr(root.get_submodule(name.rpartition(".")[0]), "padding_idx", None)
    if isinstance(index, int):
        values[index] = 0
    return values
