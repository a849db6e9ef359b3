"""The whole loop: proxies of a target within a budget, laws calibrated on them, the target's recipe; and how close it came."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.tune._budget import Budget as Budget
    from forescale.sweep.tune._budget import read_budget as read_budget
    from forescale.sweep.tune._target import Target as Target
    from forescale.sweep.tune._tune import tune as tune
    from forescale.sweep.tune._tuned import Round as Round
    from forescale.sweep.tune._tuned import Try as Try
    from forescale.sweep.tune._tuned import Tuned as Tuned
    from forescale.sweep.tune._tuned import Verified as Verified

_HOMES = {
    "Budget": "_budget",
    "Round": "_tuned",
    "Target": "_target",
    "Try": "_tuned",
    "Tuned": "_tuned",
    "Verified": "_tuned",
    "read_budget": "_budget",
    "tune": "_tune",
}

__all__ = ["Budget", "Round", "Target", "Try", "Tuned", "Verified", "read_budget", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.tune' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.tune.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
