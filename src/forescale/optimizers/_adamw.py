"""AdamW by torch's fused kernel, one call a group, without constructing a torch.optim optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from forescale.optimizers._plain import Block, PlainOptimizer, State, blocks_of, local, ops, with_gradients

DEFAULTS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}  # torch.optim.AdamW's
# What torch.optim.AdamW's state_dict says besides, so that it loads there.
FLAGS: dict[str, Any] = {
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": True,
    "decoupled_weight_decay": True,
}
FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})
MOMENTS = ("exp_avg", "exp_avg_sq")


class LeanAdamW(PlainOptimizer):
    """torch.optim.AdamW(fused=True) to the last bit, and its state_dict, for groups of plain dicts.

    Devices without the fused kernel take the same update by foreach operations. Source: Loshchilov and Hutter 2019.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(groups, {**DEFAULTS, **FLAGS})
        self._blocks: list[list[Block]] | None = None

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `PlainOptimizer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._blocks = None

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        if self._blocks is None:
            self._blocks = [blocks_of(group["params"], self.state, MOMENTS) for group in self.param_groups]
        for group, blocks in zip(self.param_groups, self._blocks, strict=True):
            for block in blocks:
                adamw_update(block, group)


def adamw_step(group: Mapping[str, Any], state: State) -> None:
    """One AdamW update of a group's parameters that have a gradient; state is made where there is none."""
    for block in blocks_of(group["params"], state, MOMENTS):
        adamw_update(block, group)


def adamw_update(block: Block, group: Mapping[str, Any]) -> None:
    """One AdamW update of a block's parameters that have a gradient."""
    block, grads = with_gradients(block)
    if not block.params:
        return
    params, grads, averages, squares = map(local, (block.params, grads, *block.averages))
    ops._foreach_add_(block.steps, 1)
    update = _fused if params[0].device.type in FUSED else _foreach
    update(params, grads, averages, squares, block.steps, group)


def _fused(
    params: list[Tensor],
    grads: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    group: Mapping[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    ops._fused_adamw_(
        params,
        grads,
        averages,
        squares,
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _foreach(
    params: list[Tensor],
    grads: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: Sequence[Tensor],
    group: Mapping[str, Any],
) -> None:
    (beta1, beta2), lr, taken = group["betas"], group["lr"], [float(step) for step in steps]
    ops._foreach_mul_(params, 1 - lr * group["weight_decay"])
    ops._foreach_lerp_(averages, grads, 1 - beta1)
    ops._foreach_mul_(squares, beta2)
    ops._foreach_addcmul_(squares, grads, grads, 1 - beta2)
    denominators = ops._foreach_sqrt(squares)
    ops._foreach_div_(denominators, [(1 - beta2**t) ** 0.5 for t in taken])
    ops._foreach_add_(denominators, group["eps"])
    ops._foreach_addcdiv_(params, averages, denominators, [-lr / (1 - beta1**t) for t in taken])
