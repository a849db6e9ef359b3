"""Sweeps: a design of runs, an engine that makes them, a store that keeps them; and tune, the whole loop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep._job import Job as Job
    from forescale.sweep._job import Outcome as Outcome
    from forescale.sweep._job import train_job as train_job
    from forescale.sweep._run import run_job as run_job
    from forescale.sweep.engines import LocalEngine as LocalEngine
    from forescale.sweep.engines import drive as drive
    from forescale.sweep.search import ForescaleSampler as ForescaleSampler
    from forescale.sweep.search import Search as Search
    from forescale.sweep.store import open_store as open_store

_HOMES = {
    "ForescaleSampler": "search",
    "Job": "_job",
    "LocalEngine": "engines",
    "Outcome": "_job",
    "Search": "search",
    "drive": "engines",
    "open_store": "store",
    "run_job": "_run",
    "train_job": "_job",
}

__all__ = [
    "ForescaleSampler",
    "Job",
    "LocalEngine",
    "Outcome",
    "Search",
    "drive",
    "open_store",
    "run_job",
    "train_job",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
