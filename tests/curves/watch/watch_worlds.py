"""Logs of known laws, in the forms that trainers write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forescale.curves.watch import Log

Array = NDArray[np.float64]


def losses(count: int, *, seed: int = 0, noise: float = 0.03) -> Array:
    """2.5 + 6 (i + 20)^-0.4 with noise: a curve that falls and bends and does nothing else."""
    steps = np.arange(1, count + 1)
    return 2.5 + 6 * (steps + 20.0) ** -0.4 + noise * np.random.default_rng(seed).normal(size=count)


def log_of(loss: Array, *, total: float | None = None, **more: Any) -> Log:
    """A log of these losses, a step each."""
    steps = np.arange(1, len(loss) + 1, dtype=float)
    return Log(name="a run", step=steps, loss=loss, val_step=np.empty(0), val_loss=np.empty(0), total=total, **more)


def records(count: int, **settings: Any) -> list[dict[str, Any]]:
    """Records as our trainer writes them, under a linear schedule to zero."""
    return [
        {"step": i + 1, "loss": float(loss), "learning_rate": 1e-3 * (1 - i / 2000), "grad_norm": 0.5}
        for i, loss in enumerate(losses(count, **settings))
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
