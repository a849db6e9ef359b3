"""u-muP (Blake et al. 2024, 2407.17465) as far as it is a matter of initial values and rates.

Its forward factors are absorbed: 1/sqrt(fan-in) of a linear map, 1/fan-in of the readout, and the residual rule, whose skip
factors only rescale a stream that every norm divides out again. What is left behind are the factors that keep low precision
formats in range (activations, softmax, the loss, backward scales): they are not part of this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from forescale.parametrize._factors import Factors
from forescale.parametrize._roles import Tensor
from forescale.parametrize._scales import Scales


def residual_taus(branches: int, residual: float = 1.0, attention_ratio: float = 1.0) -> tuple[float, ...]:
    """The weight tau of every branch beside its skip of 1, attention and FFN in turn (as implemented in unit-scaling)."""
    mlp = residual * sqrt(2 / (1 + attention_ratio**2))
    attention = attention_ratio * mlp
    taus: list[float] = []
    for i in range(branches):
        before = sum((attention if j % 2 == 0 else mlp) ** 2 for j in range(i))
        taus.append((attention if i % 2 == 0 else mlp) / sqrt(branches / 2 + before))
    return tuple(taus)


@dataclass(frozen=True, kw_only=True)
class UMup:
    """u-muP; it knows no base: its learning rate is that of unit-scaled weights."""

    name: str = "u-mup"
    source: str = "Blake et al. 2024, 2407.17465, as implemented in unit-scaling"
    sparse: bool = False
    run: bool = False
    depth: bool = True
    absolute_std: bool = True
    optimizer: str = "adam"

    def residual(self, scales: Scales) -> float:
        """Every branch beside an embedding of unit size: the skips' factors are the same for all that came before."""
        return residual_taus(2 * scales.layers)[0]

    def logits(self, scales: Scales) -> float:
        """None: the readout's 1 / width is in its factors."""
        del scales
        return 1.0

    def momentum(self, scales: Scales) -> float:
        """Betas stay."""
        del scales
        return 1.0

    def factors(self, tensor: Tensor, scales: Scales, density: float) -> Factors:
        """Initial std as it is, not relative to a base; rates relative to the one of unit-scaled weights."""
        del density
        inside = scales.layers**-0.5 if tensor.in_block else 1.0
        if tensor.role == "embedding":
            return _decayed(1.0, tensor.shape[-1] ** -0.5)
        if tensor.role == "unembedding":
            return _decayed(1 / tensor.fan_in, 1 / tensor.fan_in)
        if tensor.role == "position":
            return _decayed(1.0, tensor.shape[-1] ** -0.5)
        if tensor.role in ("hidden", "residual_output", "expert", "router"):
            return _decayed(tensor.fan_in**-0.5, inside / tensor.fan_in)
        return _decayed(1.0, inside)


def _decayed(init_std: float, rate: float) -> Factors:
    return Factors(init_std=init_std, learning_rate=rate, weight_decay=1 / rate)
