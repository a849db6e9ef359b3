"""Loss curves: what a schedule does to the loss along a run, fitted to runs and applied to schedules not tried."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.curves._best import BestSchedule as BestSchedule
    from forescale.curves._best import Ranked as Ranked
    from forescale.curves._best import best_schedule as best_schedule
    from forescale.curves._best import rank_schedules as rank_schedules
    from forescale.curves._collapse import Collapse as Collapse
    from forescale.curves._collapse import collapse as collapse
    from forescale.curves._curve import Curve as Curve
    from forescale.curves._final import FinalLaw as FinalLaw
    from forescale.curves._final import FinishedRun as FinishedRun
    from forescale.curves._final import fit_final_law as fit_final_law
    from forescale.curves._fit import fit_curve_law as fit_curve_law
    from forescale.curves._law import CurveLaw as CurveLaw
    from forescale.curves._read import read_curves as read_curves

_HOMES = {
    "BestSchedule": "_best",
    "Collapse": "_collapse",
    "Curve": "_curve",
    "CurveLaw": "_law",
    "FinalLaw": "_final",
    "FinishedRun": "_final",
    "Ranked": "_best",
    "best_schedule": "_best",
    "collapse": "_collapse",
    "fit_curve_law": "_fit",
    "fit_final_law": "_final",
    "rank_schedules": "_best",
    "read_curves": "_read",
}

__all__ = [
    "BestSchedule",
    "Collapse",
    "Curve",
    "CurveLaw",
    "FinalLaw",
    "FinishedRun",
    "Ranked",
    "best_schedule",
    "collapse",
    "fit_curve_law",
    "fit_final_law",
    "rank_schedules",
    "read_curves",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.curves' has no attribute {name!r}")
    return getattr(import_module(f"forescale.curves.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
