"""Search for the best learning rate and batch of one workload, by a model that knows what the loss looks like around it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.search._optuna import ForescaleSampler as ForescaleSampler
    from forescale.sweep.search._search import Best as Best
    from forescale.sweep.search._search import Search as Search
    from forescale.sweep.search._search import Setting as Setting

_HOMES = {"Best": "_search", "ForescaleSampler": "_optuna", "Search": "_search", "Setting": "_search"}

__all__ = ["Best", "ForescaleSampler", "Search", "Setting"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.search' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.search.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
