"""Parametrizations: from names and shapes to optimizer groups and initial values, and nothing else.

A parametrization says how the initial values, learning rate, decay and epsilon of every tensor change from a base shape to
the model at hand, so that what was tuned at the base stays right. The model's forward is not touched: a multiplier that a
paper puts on the logits or on residual branches is absorbed into the last linear map before it (Rules).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.parametrize._everett import Exponents as Exponents
    from forescale.parametrize._everett import everett_exponents as everett_exponents
    from forescale.parametrize._factors import Factors as Factors
    from forescale.parametrize._factors import absorb as absorb
    from forescale.parametrize._parametrization import SCHEMES as SCHEMES
    from forescale.parametrize._parametrization import parametrization as parametrization
    from forescale.parametrize._rates import check_learning_rates as check_learning_rates
    from forescale.parametrize._roles import ROLES as ROLES
    from forescale.parametrize._roles import Tensor as Tensor
    from forescale.parametrize._rules import Rules as Rules
    from forescale.parametrize._scales import Scales as Scales
    from forescale.parametrize._table import Table as Table
    from forescale.parametrize._umup import residual_taus as residual_taus

_HOMES = {
    "Exponents": "_everett",
    "Factors": "_factors",
    "ROLES": "_roles",
    "Rules": "_rules",
    "SCHEMES": "_parametrization",
    "Scales": "_scales",
    "Table": "_table",
    "Tensor": "_roles",
    "absorb": "_factors",
    "check_learning_rates": "_rates",
    "everett_exponents": "_everett",
    "parametrization": "_parametrization",
    "residual_taus": "_umup",
}

__all__ = [
    "ROLES",
    "SCHEMES",
    "Exponents",
    "Factors",
    "Rules",
    "Scales",
    "Table",
    "Tensor",
    "absorb",
    "check_learning_rates",
    "everett_exponents",
    "parametrization",
    "residual_taus",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.parametrize' has no attribute {name!r}")
    return getattr(import_module(f"forescale.parametrize.{_HOMES[name]}"), name)
