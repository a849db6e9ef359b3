"""Checks that a parametrization does what it promises: of activations (coords) and of the best learning rate (transfer).

A coordinate check is quick and misses real faults; the transfer check trains. Each returns a value with a verdict.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.check._coords import check_coords as check_coords
    from forescale.check._minimum import Minimum as Minimum
    from forescale.check._probes import Probe as Probe
    from forescale.check._proxy import Proxy as Proxy
    from forescale.check._slopes import CoordCheck as CoordCheck
    from forescale.check._slopes import Curve as Curve
    from forescale.check._transfer import check_transfer as check_transfer
    from forescale.check._transfer_values import Point as Point
    from forescale.check._transfer_values import TransferCheck as TransferCheck

_HOMES = {
    "CoordCheck": "_slopes",
    "Curve": "_slopes",
    "Minimum": "_minimum",
    "Point": "_transfer_values",
    "Probe": "_probes",
    "Proxy": "_proxy",
    "TransferCheck": "_transfer_values",
    "check_coords": "_coords",
    "check_transfer": "_transfer",
}

__all__ = [
    "CoordCheck",
    "Curve",
    "Minimum",
    "Point",
    "Probe",
    "Proxy",
    "TransferCheck",
    "check_coords",
    "check_transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.check' has no attribute {name!r}")
    return getattr(import_module(f"forescale.check.{_HOMES[name]}"), name)
