"""Predict, calibrate and verify the hyperparameters of language model pretraining.

The public names below are loaded when they are first used, so that `import forescale` loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale import curves as curves
    from forescale import forecast as forecast
    from forescale import noise as noise
    from forescale import schedules as schedules
    from forescale import sweep as sweep
    from forescale.errors import ForescaleError as ForescaleError
    from forescale.fit import fit_law as fit_law
    from forescale.fit import score as score
    from forescale.fit.calibrate import calibrate as calibrate
    from forescale.fit.calibrate import suggest as suggest
    from forescale.fit.surface import Surface as Surface
    from forescale.fit.surface import fit_surface as fit_surface
    from forescale.fit.surface import load_surface as load_surface
    from forescale.laws import Law as Law
    from forescale.laws import law as law
    from forescale.laws import save_law as save_law
    from forescale.parametrize import parametrization as parametrization
    from forescale.plan import Plan as Plan
    from forescale.plan import Request as Request
    from forescale.plan import make_plan as make_plan
    from forescale.plan.export import export as export
    from forescale.plan.frontier import Cluster as Cluster
    from forescale.plan.frontier import Goal as Goal
    from forescale.plan.frontier import make_frontier as make_frontier
    from forescale.recipe import Recipe as Recipe
    from forescale.recipe import Value as Value
    from forescale.runs import read_runs as read_runs
    from forescale.workload import Shape as Shape
    from forescale.workload import Workload as Workload

__version__ = "0.1.0"

_HOMES = {
    "Cluster": "forescale.plan.frontier",
    "ForescaleError": "forescale.errors",
    "Goal": "forescale.plan.frontier",
    "Law": "forescale.laws",
    "Plan": "forescale.plan",
    "Recipe": "forescale.recipe",
    "Request": "forescale.plan",
    "Shape": "forescale.workload",
    "Surface": "forescale.fit.surface",
    "Value": "forescale.recipe",
    "Workload": "forescale.workload",
    "calibrate": "forescale.fit.calibrate",
    "export": "forescale.plan.export",
    "fit_law": "forescale.fit",
    "fit_surface": "forescale.fit.surface",
    "law": "forescale.laws",
    "make_frontier": "forescale.plan.frontier",
    "load_surface": "forescale.fit.surface",
    "make_plan": "forescale.plan",
    "parametrization": "forescale.parametrize",
    "read_runs": "forescale.runs",
    "save_law": "forescale.laws",
    "score": "forescale.fit",
    "suggest": "forescale.fit.calibrate",
}

# Modules that are used by their own name, as in `forescale.schedules.cosine()`; loaded as lazily.
_MODULES = ("curves", "forecast", "noise", "schedules", "sweep")

__all__ = [
    "Cluster",
    "ForescaleError",
    "Goal",
    "Law",
    "Plan",
    "Recipe",
    "Request",
    "Shape",
    "Surface",
    "Value",
    "Workload",
    "calibrate",
    "export",
    "fit_law",
    "fit_surface",
    "law",
    "load_surface",
    "make_frontier",
    "make_plan",
    "parametrization",
    "read_runs",
    "save_law",
    "score",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"forescale.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
