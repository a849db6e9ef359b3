"""Triton kernels of norm layers whose backward pass also gives each example's squared gradient norm."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.noise.kernels._norms import norm_backward as norm_backward
    from forescale.noise.kernels._norms import norm_forward as norm_forward

__all__ = ["norm_backward", "norm_forward"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'forescale.noise.kernels' has no attribute {name!r}")
    return getattr(import_module("forescale.noise.kernels._norms"), name)


def __dir__() -> list[str]:
    return list(__all__)
