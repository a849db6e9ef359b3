"""Sweeps: a design of runs, an engine that makes them, a store that keeps them; and tune, the whole loop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep._job import Job as Job
    from forescale.sweep._job import Outcome as Outcome
    from forescale.sweep._job import train_job as train_job
    from forescale.sweep._run import run_job as run_job

_HOMES = {
    "Job": "_job",
    "Outcome": "_job",
    "run_job": "_run",
    "train_job": "_job",
}

__all__ = ["Job", "Outcome", "run_job", "train_job"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
