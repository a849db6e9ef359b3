"""Optimizers over plain group dicts: fused AdamW, Adam-atan2, and Muon with AdamW.

The names are loaded when they are first used, because they load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.optimizers._adam_atan2 import AdamAtan2 as AdamAtan2
    from forescale.optimizers._make import Optimizer as Optimizer
    from forescale.optimizers._make import make_optimizer as make_optimizer
    from forescale.optimizers._muon import MuonAdamW as MuonAdamW

OPTIMIZERS = ("adamw", "adam-atan2", "muon")

_HOMES = {
    "AdamAtan2": "forescale.optimizers._adam_atan2",
    "MuonAdamW": "forescale.optimizers._muon",
    "Optimizer": "forescale.optimizers._make",
    "make_optimizer": "forescale.optimizers._make",
}

__all__ = ["OPTIMIZERS", "AdamAtan2", "MuonAdamW", "Optimizer", "make_optimizer"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.optimizers' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
