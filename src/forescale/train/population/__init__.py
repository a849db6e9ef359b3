"""Many runs of one shape as one program: small models leave a processor idle between launches, many at once do not.

The public names are loaded when they are first used, so that this package loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.train.population._cost import Cost as Cost
    from forescale.train.population._cost import best_members as best_members
    from forescale.train.population._cost import costs as costs
    from forescale.train.population._loop import train_population as train_population
    from forescale.train.population._together import together as together

_HOMES = {
    "Cost": "_cost",
    "best_members": "_cost",
    "costs": "_cost",
    "together": "_together",
    "train_population": "_loop",
}

__all__ = ["Cost", "best_members", "costs", "together", "train_population"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.train.population' has no attribute {name!r}")
    return getattr(import_module(f"forescale.train.population.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
