"""A watch on running training: where a run will end, with an interval, and what happened in it before the eye sees it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.curves.watch._events import Event as Event
    from forescale.curves.watch._events import find_events as find_events
    from forescale.curves.watch._log import Log as Log
    from forescale.curves.watch._log import follow_log as follow_log
    from forescale.curves.watch._log import read_log as read_log
    from forescale.curves.watch._watch import EndLoss as EndLoss
    from forescale.curves.watch._watch import Watched as Watched
    from forescale.curves.watch._watch import forecasts_along as forecasts_along
    from forescale.curves.watch._watch import watch as watch

_HOMES = {
    "EndLoss": "_watch",
    "Event": "_events",
    "Log": "_log",
    "Watched": "_watch",
    "find_events": "_events",
    "follow_log": "_log",
    "forecasts_along": "_watch",
    "read_log": "_log",
    "watch": "_watch",
}

__all__ = [
    "EndLoss",
    "Event",
    "Log",
    "Watched",
    "find_events",
    "follow_log",
    "forecasts_along",
    "read_log",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.curves.watch' has no attribute {name!r}")
    return getattr(import_module(f"forescale.curves.watch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
