"""A design: the runs of a sweep, from a grid, a law's plateau, a suggestion or a file; and what it will cost.

The public names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.sweep.design._common import Common as Common
    from forescale.sweep.design._cost import Budget as Budget
    from forescale.sweep.design._cost import Cost as Cost
    from forescale.sweep.design._cost import cost_of as cost_of
    from forescale.sweep.design._cost import over_budget as over_budget
    from forescale.sweep.design._design import Design as Design
    from forescale.sweep.design._design import make_design as make_design
    from forescale.sweep.design._grid import grid as grid
    from forescale.sweep.design._grid import octaves as octaves
    from forescale.sweep.design._make import Octaves as Octaves
    from forescale.sweep.design._make import make_job as make_job
    from forescale.sweep.design._plateau import plateau as plateau
    from forescale.sweep.design._read import DesignFile as DesignFile
    from forescale.sweep.design._read import read_design as read_design
    from forescale.sweep.design._speed import Speed as Speed
    from forescale.sweep.design._speed import speed_here as speed_here
    from forescale.sweep.design._speed import speed_of_runs as speed_of_runs
    from forescale.sweep.design._suggested import from_suggestion as from_suggestion
    from forescale.sweep.design._table import from_file as from_file

_HOMES = {
    "Budget": "_cost",
    "Common": "_common",
    "Cost": "_cost",
    "Design": "_design",
    "DesignFile": "_read",
    "Octaves": "_make",
    "Speed": "_speed",
    "cost_of": "_cost",
    "from_file": "_table",
    "from_suggestion": "_suggested",
    "grid": "_grid",
    "make_design": "_design",
    "make_job": "_make",
    "octaves": "_grid",
    "over_budget": "_cost",
    "plateau": "_plateau",
    "read_design": "_read",
    "speed_here": "_speed",
    "speed_of_runs": "_speed",
}

__all__ = [
    "Budget",
    "Common",
    "Cost",
    "Design",
    "DesignFile",
    "Octaves",
    "Speed",
    "cost_of",
    "from_file",
    "from_suggestion",
    "grid",
    "make_design",
    "make_job",
    "octaves",
    "over_budget",
    "plateau",
    "read_design",
    "speed_here",
    "speed_of_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.sweep.design' has no attribute {name!r}")
    return getattr(import_module(f"forescale.sweep.design.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
