"""Loss curves: what a schedule does to the loss along a run, fitted to runs and applied to schedules not tried."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.curves._curve import Curve as Curve
    from forescale.curves._fit import fit_curve_law as fit_curve_law
    from forescale.curves._law import CurveLaw as CurveLaw

_HOMES = {"Curve": "_curve", "CurveLaw": "_law", "fit_curve_law": "_fit"}

__all__ = ["Curve", "CurveLaw", "fit_curve_law"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.curves' has no attribute {name!r}")
    return getattr(import_module(f"forescale.curves.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
