"""Adam-atan2: Adam without an epsilon, by an arctangent in place of the division."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from forescale.errors import ForescaleError
from forescale.optimizers._plain import Block, blocks_of, check_groups, local, ops, with_gradients

FULL_UPDATE = 4 / math.pi  # makes the update exactly 1 where m_hat == sqrt(v_hat)


class AdamAtan2(Optimizer):
    """Adam whose update is `a * atan2(m_hat, b * sqrt(v_hat))`: bounded, scale-invariant in the gradient, no epsilon.

    `a` = 4/pi makes the update 1 where m_hat equals sqrt(v_hat); no element moves by more than `lr * a * pi / 2`.
    Weight decay is AdamW's (`theta *= 1 - lr * weight_decay`). Groups may carry an `eps`, which is not used. State:
    `step`, `exp_avg`, `exp_avg_sq` as torch.optim.AdamW's. Raises `ForescaleError` for a negative learning rate or
    decay, and for betas outside [0, 1). Source: Everett et al. 2024, 2407.05872, section 5.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        a: float = FULL_UPDATE,
        b: float = 1.0,
    ) -> None:
        if not (a > 0 and b > 0):
            raise ForescaleError(f"a and b must be above 0; got a {a} and b {b}: leave them out for 4/pi and 1.")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "a": a, "b": b})
        check_groups(self.param_groups)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        state: Any = self.state
        for group in self.param_groups:
            for block in blocks_of(group["params"], state, ("exp_avg", "exp_avg_sq")):
                _update(block, group)
        return loss


def _update(block: Block, group: Mapping[str, Any]) -> None:
    block, grads = with_gradients(block)
    if not block.params:
        return
    params, grads, averages, squares = map(local, (block.params, grads, *block.averages))
    beta1, beta2 = group["betas"]
    ops._foreach_add_(block.steps, 1)
    ops._foreach_lerp_(averages, grads, 1 - beta1)
    ops._foreach_mul_(squares, beta2)
    ops._foreach_addcmul_(squares, grads, grads, 1 - beta2)
    updates = _directions(averages, squares, block.steps, group)
    ops._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
    ops._foreach_add_(params, updates, alpha=-group["lr"] * group["a"])


def _directions(
    averages: list[Tensor], squares: list[Tensor], steps: list[Tensor], group: Mapping[str, Any]
) -> tuple[Tensor, ...]:
    """atan2(m_hat, b sqrt(v_hat)), with both corrections of bias on one side: only the ratio of the two counts."""
    beta1, beta2 = group["betas"]
    taken = [float(step) for step in steps]
    ratios = [group["b"] * (1 - beta1**t) / math.sqrt(1 - beta2**t) for t in taken]
    roots = ops._foreach_sqrt(squares)
    ops._foreach_mul_(roots, ratios)
    for average, root in zip(averages, roots, strict=True):
        torch.atan2(average, root, out=root)
    return roots
