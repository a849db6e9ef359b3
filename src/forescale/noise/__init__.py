"""Gradient noise: exact norms of every example's gradient, the noise scale, and batch sizes that follow from it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.noise._estimate import NoiseScale as NoiseScale
    from forescale.noise._estimate import Ratio as Ratio
    from forescale.noise._meter import Meter as Meter
    from forescale.noise._ranks import RankMeter as RankMeter
    from forescale.noise.schedule import BatchController as BatchController
    from forescale.noise.schedule import BatchSchedule as BatchSchedule
    from forescale.noise.schedule import BatchState as BatchState

_HOMES = {
    "BatchController": "forescale.noise.schedule",
    "BatchSchedule": "forescale.noise.schedule",
    "BatchState": "forescale.noise.schedule",
    "Meter": "forescale.noise._meter",
    "NoiseScale": "forescale.noise._estimate",
    "RankMeter": "forescale.noise._ranks",
    "Ratio": "forescale.noise._estimate",
}

_MODULES = ("critical", "kernels", "schedule")  # used by their own names, as noise.schedule.linear()

__all__ = ["BatchController", "BatchSchedule", "BatchState", "Meter", "NoiseScale", "RankMeter", "Ratio"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"forescale.noise.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.noise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
