"""The laws: each turns a path into columns whose weighted sum is the loss.

Time t is in units of the longest curve, the rate η in units of the highest peak. With the drops Δ_k of a path:

- linear:     L0 + A S^-α + B η,  S = ∫ η dt;
- momentum:   L0 + A S^-α - B Σ Δ_k [1 - exp(-c (t - t_k))] (Tissue et al. 2024, arXiv:2408.11029: annealing area);
- multi-power: L0 + A S^-α - B Σ Δ_k [1 - (1 + c η_k^-γ (S - S_k))^-β] (Luo et al. 2025, arXiv:2503.12811);
- functional: L0 + A S^-α - Σ Δ_k (B1 + B2 S_k^-α) [1 - (1 + c (S - S_k))^-β] (Li et al. 2025, arXiv:2509.19189, fixed size);
- memory:     L0 + A P^-α + B n, with progress P = ∫ η^q dt and a noise n that follows η^r up at once and down slowly:
  n = Σ rises of η^r - Σ drops of η^r [1 - (1 + c (τ - τ_k))^-β] on the clock τ = ∫ η^κ t^-u dt.

The last is ours: exponents that the others fix at 0 or 1 are shapes with a prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves._path import Path

    Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A parameter that is not an amplitude: where its search starts, its bounds, and a prior's standard deviation."""

    start: float
    low: float
    high: float
    spread: float | None = None  # of a Gaussian prior around `start`; none: free within the bounds


@dataclass(frozen=True, kw_only=True)
class Family:
    """A law: its shapes by name, and the columns (path, shapes) -> array (knots, amplitudes); B's sign is in its columns."""

    name: str
    shapes: Mapping[str, Shape]
    columns: Callable[[Path, Mapping[str, float]], Array]


def progress(path: Path, power: float = 1.0) -> Array:
    """∫ η^power dt at each knot; the warmup before the record is a straight rise from 0."""
    import numpy as np

    steps = path.widths * path.held**power
    steps[0] = path.time[0] * path.rate[0] ** power / (1 + power)
    return np.cumsum(steps)


def _linear(path: Path, at: Mapping[str, float]) -> Array:
    import numpy as np

    noise = np.append(path.rate[0], path.held[1:])
    return _stack(progress(path), at["alpha"], noise)


def _momentum(path: Path, at: Mapping[str, float]) -> Array:
    import numpy as np

    passed = _since(path, path.time)
    return _stack(progress(path), at["alpha"], _annealed(path, -np.expm1(-np.exp(at["ln_c"]) * passed)))


def _multi_power(path: Path, at: Mapping[str, float]) -> Array:
    import numpy as np

    total = progress(path)
    scale = np.exp(at["ln_c"]) * np.maximum(path.rate[path.ends], 1e-6) ** -at["gamma"]
    response = 1 - (1 + scale * _since(path, total)) ** -np.exp(at["ln_beta"])
    return _stack(total, at["alpha"], _annealed(path, response))


def _functional(path: Path, at: Mapping[str, float]) -> Array:
    import numpy as np

    total = progress(path)
    response = 1 - (1 + np.exp(at["ln_c"]) * _since(path, total)) ** -np.exp(at["ln_beta"])
    later = total[path.ends] ** -at["alpha"]
    return np.column_stack([_stack(total, at["alpha"], _annealed(path, response)), _annealed(path, response * later)])


def _memory(path: Path, at: Mapping[str, float]) -> Array:
    import numpy as np

    ticks = path.widths * path.held ** at["kappa"] * np.maximum(path.time, 1e-9) ** -at["u"]
    ticks[0] = 0.0
    response = 1 - (1 + np.exp(at["ln_c"]) * _since(path, np.cumsum(ticks))) ** -np.exp(at["ln_beta"])
    power = path.rate ** at["r"]
    risen = power[0] + np.append(0.0, np.cumsum(np.maximum(power[1:] - power[:-1], 0.0)))
    return _stack(progress(path, at["q"]), at["alpha"], risen + _annealed(path, response, at["r"]))


def _stack(total: Array, alpha: float, noise: Array) -> Array:
    import numpy as np

    return np.column_stack([np.ones_like(total), np.maximum(total, 1e-9) ** -alpha, noise])


def _since(path: Path, clock: Array) -> Array:
    """What a clock shows since the middle of each drop, (knots, drops); 0 before its end."""
    import numpy as np

    middle = (clock[path.starts] + clock[path.ends]) / 2
    return np.where(path.happened, clock[:, None] - middle[None, :], 0.0)


def _annealed(path: Path, response: Array, power: float = 1.0) -> Array:
    """-Σ Δ(η^power)_k × response over the drops that have happened."""
    import numpy as np

    powers = path.rate**power
    fallen = np.append(0.0, np.cumsum(np.maximum(powers[:-1] - powers[1:], 0.0)))
    before = np.where(path.starts == path.ends, path.ends - 1, path.starts)
    return -(response * path.happened) @ (fallen[path.ends] - fallen[before])


ALPHA = Shape(start=0.48, low=0.05, high=1.5)
LN_C, LN_BETA = Shape(start=4.0, low=-4, high=12), Shape(start=-0.5, low=-4, high=2.5)

# The prior of the memory law: centres and spreads, rounded, from fits to the 124M curves of Hägele et al. 2024 at peaks of
# 1e-4 to 2e-3 (benchmarks/bench_curves.py prints them): alpha .38-.53, kappa 1.1-1.6, q .67-.92, r .41-.69, u -.04-.75. Where
# r and u start, at the ends of the lower peaks, was set by leaving out in turn one of the curves that laws are fitted to.
MEMORY = {
    "alpha": Shape(start=0.48, low=0.05, high=1.5, spread=0.06),
    "ln_c": Shape(start=6.0, low=-4.0, high=12.0, spread=2.0),
    "ln_beta": Shape(start=0.0, low=-4.0, high=2.5, spread=0.8),
    "kappa": Shape(start=1.2, low=0.0, high=2.0, spread=0.2),
    "q": Shape(start=0.7, low=0.2, high=1.4, spread=0.1),
    "r": Shape(start=0.7, low=0.2, high=2.0, spread=0.1),
    "u": Shape(start=0.5, low=-0.5, high=1.2, spread=0.3),
}
POWER = {"alpha": ALPHA, "ln_c": LN_C, "ln_beta": LN_BETA}
FAMILIES: Mapping[str, Family] = {
    "memory": Family(name="memory", shapes=MEMORY, columns=_memory),
    "multi-power": Family(
        name="multi-power", shapes=POWER | {"gamma": Shape(start=0.6, low=-0.5, high=2.0)}, columns=_multi_power
    ),
    "momentum": Family(name="momentum", shapes={"alpha": ALPHA, "ln_c": LN_C}, columns=_momentum),
    "functional": Family(name="functional", shapes=POWER, columns=_functional),
    "linear": Family(name="linear", shapes={"alpha": ALPHA}, columns=_linear),
}
