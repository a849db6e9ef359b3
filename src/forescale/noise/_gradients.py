"""The gradient's own squared norms, layer by layer, and what processes that share a batch add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

ops: Any = torch
distributed: Any = torch.distributed


def squared_norms(layers: Sequence[Sequence[nn.Parameter]], device: Any) -> tuple[Tensor, Tensor]:
    """(layers,) squared norms of the gradients that lie here: of parameters that are here whole, and of shards."""
    whole, shards = (torch.zeros(len(layers), dtype=torch.float64, device=device) for _ in range(2))
    at: tuple[list[int], list[int]] = ([], [])
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for i, parameters in enumerate(layers):
        for parameter in parameters:
            grad: Any = parameter.grad
            if grad is None:
                continue
            sharded = is_sharded(grad)
            at[sharded].append(i)
            found[sharded].append(grad.to_local() if hasattr(grad, "to_local") else grad)
    for total, indices, grads in zip((whole, shards), at, found, strict=True):
        if grads:
            norms = torch.stack(ops._foreach_norm(grads)).double().square()
            total.index_add_(0, torch.tensor(indices, device=device), norms)
    return whole, shards


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is one process's part of a larger one."""
    return any(placement.is_shard() for placement in getattr(tensor, "placements", ()))


class Processes:
    """Those whose gradients are averaged: rank by rank its own examples. One process has nothing to add up."""

    def __init__(self, group: Any) -> None:
        self.group = None if group == "world" else group
        self.size = 1
        if group is not None and distributed.is_available() and distributed.is_initialized():
            self.size = distributed.get_world_size(self.group)

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values, group=self.group)
        return values
