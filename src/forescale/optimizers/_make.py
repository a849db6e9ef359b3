"""An optimizer by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from forescale.errors import UnknownNameError
from forescale.optimizers import OPTIMIZERS
from forescale.optimizers._adamw import LeanAdamW
from forescale.optimizers._muon import MuonAdamW, split_groups


class Optimizer(Protocol):
    """What every optimizer of this package does."""

    param_groups: list[dict[str, Any]]

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        ...


def make_optimizer(name: str, groups: Iterable[Mapping[str, Any]]) -> Optimizer:
    """The optimizer `adamw`, `adam-atan2` or `muon` over groups of `params`, `lr`, `betas`, `eps`, `weight_decay`.

    With muon the hidden matrices are found by the groups' `param_names`, unless a group names its `optimizer`.
    Raises `UnknownNameError` for another name.
    """
    if name == "adamw":
        return LeanAdamW(groups)
    if name == "muon":
        return MuonAdamW(split_groups(groups))
    if name == "adam-atan2":
        from forescale.optimizers._adam_atan2 import AdamAtan2

        return AdamAtan2([dict(group) for group in groups])
    raise UnknownNameError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {name!r}: choose one.")
