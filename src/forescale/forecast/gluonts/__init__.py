"""C2FAR and SutraNet where GluonTS expects an estimator: change the line that names DeepAR."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.forecast.gluonts._estimator import C2FAREstimator as C2FAREstimator
    from forescale.forecast.gluonts._estimator import SutraNetEstimator as SutraNetEstimator
    from forescale.forecast.gluonts._predictor import ForecasterPredictor as ForecasterPredictor

_HOMES = {
    "C2FAREstimator": "_estimator",
    "ForecasterPredictor": "_predictor",
    "SutraNetEstimator": "_estimator",
}

__all__ = ["C2FAREstimator", "ForecasterPredictor", "SutraNetEstimator"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.forecast.gluonts' has no attribute {name!r}")
    return getattr(import_module(f"forescale.forecast.gluonts.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
