"""Where jobs run: processes of this machine, a Ray cluster, Slurm; and the driver that they share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.engines._driver import Summary as Summary
    from forescale.sweep.engines._driver import drive as drive
    from forescale.sweep.engines._engine import Engine as Engine
    from forescale.sweep.engines._engine import Task as Task
    from forescale.sweep.engines._local import LocalEngine as LocalEngine
    from forescale.sweep.engines._ray import RayEngine as RayEngine
    from forescale.sweep.engines._slurm import SlurmEngine as SlurmEngine

_HOMES = {
    "Engine": "_engine",
    "LocalEngine": "_local",
    "RayEngine": "_ray",
    "SlurmEngine": "_slurm",
    "Summary": "_driver",
    "Task": "_engine",
    "drive": "_driver",
}

__all__ = ["Engine", "LocalEngine", "RayEngine", "SlurmEngine", "Summary", "Task", "drive"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.engines' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.engines.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
