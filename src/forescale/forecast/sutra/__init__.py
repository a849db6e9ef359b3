"""SutraNets: a long series as several interleaved short ones, each with a forecaster of its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.forecast.sutra._sutranet import SutraNet as SutraNet

_HOMES = {"SutraNet": "_sutranet"}

__all__ = ["SutraNet"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.forecast.sutra' has no attribute {name!r}")
    return getattr(import_module(f"forescale.forecast.sutra.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
