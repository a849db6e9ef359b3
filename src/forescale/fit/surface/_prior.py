"""What is believed of a surface before a run of the sweep is seen, and where each number is from."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from forescale.fit.surface._model import NAMES, SHAPE, TERMS
from forescale.laws import law

if TYPE_CHECKING:
    from forescale.fit.surface._model import Array

# Deviations of the level's constants around Skaling's form on Epoch's 240 Chinchilla points (the catalog's `skaling`),
# moved to the sweep's own loss; k is the middle of the .31 to .90 that its paper finds on several corpora.
PUBLISHED = "skaling"
K = 0.6
LEVEL_DEVIATIONS = {"log_E": 0.1, "log_A": 0.5, "alpha": 0.05, "log_B": 0.5, "beta": 0.05, "k": 0.15}
# Means and deviations. Those of the optimum's exponents: the middle and spread of Step Law as published, refitted to its
# released cells, and of Lingle's optima.
PRIOR = {
    "share": (0.5, 0.25),  # of active parameters in the level: 0 counts all parameters, 1 active ones
    "log_rate": (0.0, 1.0),  # around published Step Law
    "rate_params": (-0.6, 0.15),
    "rate_tokens": (0.25, 0.15),
    "rate_active": (0.0, 0.2),
    "log_batch": (0.0, 1.0),
    "batch_params": (-0.1, 0.15),
    "batch_tokens": (0.57, 0.07),
    "batch_active": (0.0, 0.3),
    "log_scale": (0.0, 0.7),
    "scale_params": (0.0, 0.1),
    "scale_tokens": (-0.1, 0.1),  # the basin widens with tokens
    "log_saturation": (-2.2, 0.5),
}
# Step Law's landscape: weight, along ln learning rate, along ln batch, of each term; rounded from a fit of the released
# dense cells.
STEP_LAW = ((0.0045, 1.6, -0.4), (0.0003, -1.0, 1.5), (0.01, 0.5, -1.0), (0.0045, 0.8, 0.8))
SHAPE_DEVIATIONS = (1.0, 0.5, 0.5)


def prior(params: float, tokens: float) -> tuple[Array, Array]:
    """Means and standard deviations of the parameters, in the units of a reference setting of this workload."""
    import numpy as np

    shape = np.array(STEP_LAW).T
    shape[0] = np.log(shape[0])
    deviations = np.repeat(SHAPE_DEVIATIONS, TERMS)
    known = {name: (mean, LEVEL_DEVIATIONS[name]) for name, mean in _level(params, tokens).items()} | PRIOR
    known |= {n: (m, s) for n, m, s in zip(SHAPE, shape.ravel().tolist(), deviations.tolist(), strict=True)}
    means, spreads = np.array([known[name] for name in NAMES]).T
    return means, spreads


def _level(params: float, tokens: float) -> dict[str, float]:
    """The published loss law's terms at a reference setting, as shares of its loss there."""
    published = law(PUBLISHED)
    c = published.formula("loss").constants
    first, second = c["A"] * params ** -c["alpha"], c["B"] * tokens ** -c["beta"]
    rest = (first + second) ** c["k"]
    both = log(rest / (c["E"] + rest)) / K
    return {
        "log_E": log(c["E"] / (c["E"] + rest)),
        "log_A": both + log(first / (first + second)),
        "alpha": c["alpha"],
        "log_B": both + log(second / (first + second)),
        "beta": c["beta"],
        "k": K,
    }
