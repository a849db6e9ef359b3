"""Probabilistic forecasting of series, discrete or continuous: C2FAR, its density, and scores."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR as C2FAR
    from forescale.forecast._cross import Backtest as Backtest
    from forescale.forecast._density import Density as Density
    from forescale.forecast._forecaster import Forecaster as Forecaster
    from forescale.forecast._grid import Grid as Grid
    from forescale.forecast._options import Options as Options
    from forescale.forecast._scores import scores as scores
    from forescale.forecast._train import Fitted as Fitted
    from forescale.forecast._train import Training as Training
    from forescale.forecast.sutra._sutranet import SutraNet as SutraNet

_HOMES = {
    "Backtest": "_cross",
    "C2FAR": "_c2far",
    "Density": "_density",
    "Fitted": "_train",
    "Forecaster": "_forecaster",
    "Grid": "_grid",
    "Options": "_options",
    "SutraNet": "sutra._sutranet",
    "Training": "_train",
    "scores": "_scores",
}

__all__ = ["C2FAR", "Backtest", "Density", "Fitted", "Forecaster", "Grid", "Options", "SutraNet", "Training", "scores"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.forecast' has no attribute {name!r}")
    return getattr(import_module(f"forescale.forecast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
