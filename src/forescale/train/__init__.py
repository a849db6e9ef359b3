"""Training: the model, its data and the loop.

The public names are loaded when they are first used, so that this package loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.train._model import Decoder as Decoder
    from forescale.train._model import Losses as Losses
    from forescale.train._model import build_model as build_model
    from forescale.train._options import ModelOptions as ModelOptions

_HOMES = {
    "Decoder": "_model",
    "Losses": "_model",
    "ModelOptions": "_options",
    "build_model": "_model",
}

__all__ = ["Decoder", "Losses", "ModelOptions", "build_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.train' has no attribute {name!r}")
    return getattr(import_module(f"forescale.train.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
