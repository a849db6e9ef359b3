"""Curves of the Multi-Power Law's authors, and small worlds with a known law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forescale.curves import Curve

FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")  # the authors' own choice
Array = NDArray[np.float64]


def load_sizes(data: Path, size: int) -> dict[str, Curve]:
    """The curves of one model size (millions of parameters), by file name."""
    curves: dict[str, Curve] = {}
    for file in sorted((data / "multi-power-law" / f"csv_{size}").glob("*.csv")):
        step, rate, loss = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
        curves[file.stem] = Curve(step, loss, rate, name=file.stem)
    return curves


def cosine(steps: Array, warmup: float = 100.0, peak: float = 1e-3, final: float = 0.1) -> Array:
    total = steps[-1]
    share = np.clip((steps - warmup) / (total - warmup), 0, 1)
    return peak * np.minimum(steps / warmup, 1) * (final + (1 - final) * (1 + np.cos(np.pi * share)) / 2)


def dropped(steps: Array, at: float, to: float, warmup: float = 100.0, peak: float = 1e-3) -> Array:
    return peak * np.minimum(steps / warmup, 1) * np.where(steps > at, to, 1.0)


def step_by_step(rates: Array, shapes: dict[str, float], level: tuple[float, float, float], peak: float) -> Array:
    """The memory law's loss by its definition, a step at a time: the second method that the columns are checked with."""
    relative, total = rates / peak, len(rates)
    progress, clock, risen = 0.0, 0.0, relative[0] ** shapes["r"]
    drops: list[tuple[float, float]] = []
    losses: list[float] = []
    for i, rate in enumerate(relative):
        held = relative[i - 1] if i else rate / 2
        progress += held ** shapes["q"] / total if i else rate ** shapes["q"] / (1 + shapes["q"]) / total
        if i:
            clock += held ** shapes["kappa"] * ((i + 1) / total) ** -shapes["u"] / total
            change = rate ** shapes["r"] - relative[i - 1] ** shapes["r"]
            risen += max(change, 0.0)
            if change < 0:
                drops.append((clock, -change))
        scale, power = np.exp(shapes["ln_c"]), np.exp(shapes["ln_beta"])
        gone = sum(size * (1 - (1 + scale * (clock - at)) ** -power) for at, size in drops)
        losses.append(level[0] + level[1] * progress ** -shapes["alpha"] + level[2] * (risen - gone))
    return np.array(losses)
