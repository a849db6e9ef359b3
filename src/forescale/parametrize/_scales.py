"""How much larger the model at hand is than the base."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Ratios to the base: 1 means as the base."""

    width: float = 1.0  # m_N
    depth: float = 1.0  # m_L
    batch: float = 1.0  # m_B
    tokens: float = 1.0  # m_D
    layers: int = 1  # of the model itself, for schemes that know no base
