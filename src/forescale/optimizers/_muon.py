"""Muon for hidden matrices and AdamW for the rest, behind one optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from forescale.errors import ForescaleError
from forescale.optimizers._adamw import DEFAULTS, adamw_step
from forescale.optimizers._plain import PlainOptimizer, State

# Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; torch.optim.Muon has the same.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LEAST_NORM = 1e-7
MUON_DEFAULTS = {"momentum": 0.95, "nesterov": True}
ADAMW_RMS = 0.2  # of AdamW's updates, Liu et al. 2025, 2502.16982, equation 4


class MuonAdamW(PlainOptimizer):
    """Groups whose `optimizer` is "muon" take torch.optim.Muon's update with `match_rms_adamw`, others AdamW's.

    The update of a matrix (out, in) is scaled by 0.2 sqrt(max(out, in)), so AdamW's learning rate and decay serve both
    (Liu et al. 2025, 2502.16982). Of three dimensions (experts, out, in), each expert is a matrix of its own. Matrices
    are orthogonalized in bfloat16 on accelerators as torch does, on CPUs in float32: few have bfloat16 products.
    Raises `ForescaleError` for a Muon group with a vector in it.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(groups, {"optimizer": "adamw", **DEFAULTS, **MUON_DEFAULTS})
        for group in self.param_groups:
            _check(group)

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            if group["optimizer"] == "muon":
                _muon_step(group, self.state)
            else:
                adamw_step(group, self.state)


def _check(group: Mapping[str, Any]) -> None:
    if group["optimizer"] not in ("muon", "adamw"):
        raise ForescaleError(f"a group's optimizer must be muon or adamw; got {group['optimizer']!r}: choose one.")
    if group["optimizer"] == "muon" and (odd := [p for p in group["params"] if p.ndim not in (2, 3)]):
        raise ForescaleError(
            f"Muon updates matrices, alone or stacked; got a parameter of shape {tuple(odd[0].shape)}: leave it to adamw."
        )


def _muon_step(group: Mapping[str, Any], state: State) -> None:
    """Momentum, then one orthogonalization for all matrices of a shape."""
    shapes: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for parameter in group["params"]:
        if parameter.grad is not None:
            update = _momentum(parameter, state, group["momentum"], group["nesterov"])
            shapes.setdefault(parameter.shape, []).append((parameter, update))
    for pairs in shapes.values():
        orthogonal = orthogonalized(torch.stack([_whole(update) for _, update in pairs]))
        for (parameter, _), direction in zip(pairs, orthogonal.unbind(), strict=True):
            _move(parameter, direction, group["lr"], group["weight_decay"])


def _momentum(parameter: Tensor, state: State, momentum: float, nesterov: bool) -> Tensor:
    grad = cast("Tensor", parameter.grad)
    if parameter not in state:
        state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    buffer = state[parameter]["momentum_buffer"]
    buffer.lerp_(grad, 1 - momentum)
    return grad.lerp(buffer, momentum) if nesterov else buffer


def orthogonalized(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Singular values brought near 1 (0.7 to 1.2) by five Newton-Schulz steps; shape (..., out, in), in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(dtype or (torch.float32 if matrices.device.type == "cpu" else torch.bfloat16))
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / x.square().sum((-2, -1), keepdim=True).sqrt().clamp(min=LEAST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def _move(parameter: Tensor, direction: Tensor, lr: float, weight_decay: float) -> None:
    scale = ADAMW_RMS * math.sqrt(max(parameter.shape[-2:]))
    parameter.mul_(1 - lr * weight_decay)
    parameter.add_(_sharded_like(parameter, direction.to(parameter.dtype)), alpha=-lr * scale)


def _whole(tensor: Any) -> Tensor:
    """A distributed tensor gathered on every rank; others as they are."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _sharded_like(parameter: Any, whole: Tensor) -> Tensor:
    """The part that is here of a tensor that every rank has, where the parameter is distributed."""
    if not hasattr(parameter, "device_mesh"):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    mesh: Any = parameter.device_mesh
    replicated = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return replicated.redistribute(mesh, parameter.placements)


def hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon is meant for it: a matrix inside a block, but not the router, whose rows are classes."""
    return parameter.ndim >= 2 and name.startswith("blocks.") and ".router." not in name


def split_groups(groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each group in two, hidden matrices and others, by `param_names`; groups that name their `optimizer` stay whole."""
    made: list[dict[str, Any]] = []
    for group in groups:
        if "optimizer" in group:
            made.append(dict(group))
            continue
        hidden = [hidden_matrix(n, p) for n, p in zip(_names(group), group["params"], strict=True)]
        made += [_part(group, hidden, "muon"), _part(group, [not h for h in hidden], "adamw")]
    return [group for group in made if group["params"]]


def _names(group: Mapping[str, Any]) -> Sequence[str]:
    if "param_names" not in group:
        raise ForescaleError(
            "Muon needs to know which parameters are hidden matrices; got a group with neither optimizer nor "
            "param_names: add one of them."
        )
    return group["param_names"]


def _part(group: Mapping[str, Any], taken: Sequence[bool], optimizer: str) -> dict[str, Any]:
    chosen = {
        key: [value for value, take in zip(group[key], taken, strict=True) if take] for key in ("params", "param_names")
    }
    return {**group, **chosen, "optimizer": optimizer}
