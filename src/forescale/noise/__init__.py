"""Gradient noise: exact norms of every example's gradient, the noise scale, and batch sizes that follow from it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.noise._estimate import NoiseScale as NoiseScale
    from forescale.noise._estimate import Ratio as Ratio
    from forescale.noise._meter import Meter as Meter
    from forescale.noise._ranks import RankMeter as RankMeter

_HOMES = {
    "Meter": "forescale.noise._meter",
    "NoiseScale": "forescale.noise._estimate",
    "RankMeter": "forescale.noise._ranks",
    "Ratio": "forescale.noise._estimate",
}

__all__ = ["Meter", "NoiseScale", "RankMeter", "Ratio"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.noise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
