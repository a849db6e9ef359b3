"""Where a sweep's runs are kept: planned, claimed by drivers, recorded; SQLite, or any database for many nodes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.store._entry import Entry as Entry
    from forescale.sweep.store._open import open_store as open_store
    from forescale.sweep.store._store import Store as Store

_HOMES = {"Entry": "_entry", "Store": "_store", "open_store": "_open"}

__all__ = ["Entry", "Store", "open_store"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.store' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.store.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
