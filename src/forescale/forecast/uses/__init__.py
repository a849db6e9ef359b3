"""What a forecaster's law is good for beside forecasts: exact compression, anomalies, gaps filled from both sides."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.forecast.uses._anomaly import anomalies as anomalies
    from forescale.forecast.uses._anomaly import excesses as excesses
    from forescale.forecast.uses._compress import compress as compress
    from forescale.forecast.uses._compress import decompress as decompress
    from forescale.forecast.uses._interpolate import interpolate as interpolate
    from forescale.forecast.uses._nab import NabScore as NabScore
    from forescale.forecast.uses._nab import nab_score as nab_score

_HOMES = {
    "NabScore": "_nab",
    "anomalies": "_anomaly",
    "compress": "_compress",
    "decompress": "_compress",
    "excesses": "_anomaly",
    "interpolate": "_interpolate",
    "nab_score": "_nab",
}

__all__ = ["NabScore", "anomalies", "compress", "decompress", "excesses", "interpolate", "nab_score"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.forecast.uses' has no attribute {name!r}")
    return getattr(import_module(f"forescale.forecast.uses.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
