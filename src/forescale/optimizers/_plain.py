"""Parameter groups and their state in torch.optim's layout, without its import of a compiler (2 s in a fresh process)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from forescale.errors import ForescaleError

ops: Any = torch  # its foreach and fused operations, which have no public name

State = dict[Tensor, dict[str, Any]]


class PlainOptimizer:
    """`param_groups`, `state`, `zero_grad`, `state_dict` and `load_state_dict` as torch.optim.Optimizer has them."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> None:
        self.param_groups: list[dict[str, Any]] = [{**defaults, **g, "params": list(g["params"])} for g in groups]
        self.state: State = {}
        check_groups(self.param_groups)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero in place."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """State by the parameter's number, and the groups with those numbers; loads into torch.optim's optimizers."""
        parameters = self._parameters()
        numbers = {parameter: i for i, parameter in enumerate(parameters)}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over state and hyperparameters; raises `ForescaleError` where the groups have other sizes."""
        groups = cast("Sequence[Mapping[str, Any]]", state_dict["param_groups"])
        sizes = [[len(group["params"]) for group in each] for each in (groups, self.param_groups)]
        if sizes[0] != sizes[1]:
            raise ForescaleError(
                f"a saved optimizer must have this one's parameter groups; got groups of {sizes[0]} parameters for "
                f"{sizes[1]}: load it into the model and parametrization that it was saved from."
            )
        parameters = dict(zip((i for g in groups for i in g["params"]), self._parameters(), strict=True))
        self.state = {parameters[i]: _moved(parameters[i], s) for i, s in state_dict["state"].items()}
        self.param_groups = [
            {**mine, **saved, "params": mine["params"]} for mine, saved in zip(self.param_groups, groups, strict=True)
        ]

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def check_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ForescaleError` for a parameter in two groups, or a hyperparameter that no optimizer takes."""
    seen: set[Tensor] = set()
    for group in groups:
        if not seen.isdisjoint(group["params"]):
            raise ForescaleError("a parameter belongs to one group; got one in two groups: leave it out of one.")
        seen.update(group["params"])
        for name in ("lr", "weight_decay", "eps"):
            if not 0 <= group.get(name, 0.0) < float("inf"):
                raise ForescaleError(f"{name} must be finite and not below 0; got {group[name]}: correct the group.")
        if not all(0 <= beta < 1 for beta in group.get("betas", ())):
            raise ForescaleError(f"betas must lie between 0 and below 1; got {group['betas']}: correct the group.")


def _moved(parameter: Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of saved state on the parameter's device, averages in its dtype; the step stays a float32 scalar."""
    dtypes = {"step": torch.float32}
    return {
        name: value.to(device=parameter.device, dtype=dtypes.get(name, parameter.dtype), copy=True)
        if isinstance(value, Tensor)
        else value
        for name, value in state.items()
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Parameters of one device and dtype with their state, in lists of one order."""

    params: list[Tensor]
    averages: list[list[Tensor]]  # one list a moment
    steps: list[Tensor]

    def of(self, indices: Sequence[int]) -> Block:
        """The block of some of the parameters."""
        return Block(
            params=[self.params[i] for i in indices],
            averages=[[average[i] for i in indices] for average in self.averages],
            steps=[self.steps[i] for i in indices],
        )


def blocks_of(parameters: Sequence[Tensor], state: State, moments: Sequence[str]) -> list[Block]:
    """The parameters with their state, made as zeros where there is none yet, one block a device and dtype."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.device, parameter.dtype), []).append(parameter)
        if parameter not in state:
            zeros = {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in moments}
            state[parameter] = {"step": torch.zeros((), device=parameter.device), **zeros}
    return [
        Block(
            params=params,
            averages=[[state[p][name] for p in params] for name in moments],
            steps=[state[p]["step"] for p in params],
        )
        for params in kinds.values()
    ]


def with_gradients(block: Block) -> tuple[Block, list[Tensor]]:
    """The parameters that have a gradient, and the gradients, each with its parameter's strides.

    The fused kernel on CPUs reads a gradient in its parameter's layout whatever its own, and says nothing.
    """
    grads = [p.grad for p in block.params]
    if any(grad is None for grad in grads):
        block = block.of([i for i, grad in enumerate(grads) if grad is not None])
        grads = [p.grad for p in block.params]
    return block, [
        g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        for p, g in zip(block.params, cast("list[Tensor]", grads), strict=True)
    ]


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The shards that are here of distributed tensors; others as they are. An update by element is the same on shards."""
    return [cast("Any", t).to_local() if hasattr(t, "to_local") else t for t in tensors]
