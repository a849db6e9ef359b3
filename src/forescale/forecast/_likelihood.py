"""Likelihoods of whole series, horizon by horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from forescale.forecast._windows import Cutter, Layout, Windows

BATCH = 512  # windows at a time


def log_probs(network: Any, cutter: Cutter, layout: Layout) -> list[tuple[Any, Any]]:
    """Log density (nats in the data's unit) and CDF of each value of each series; NaN where there is no number."""
    lengths: list[int] = [int(length) for length in cutter.lengths]
    found = [(np.full(length, np.nan), np.full(length, np.nan)) for length in lengths]
    places = [(number, origin) for number, length in enumerate(lengths) for origin in origins(length, layout)]
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        windows = cutter.cut(*torch.tensor(part).unbind(1))
        log_prob, cdf = window_log_probs(network, windows)
        for row, (number, origin) in enumerate(part):
            found[number][0][origin : origin + layout.horizon] = log_prob[row]
            found[number][1][origin : origin + layout.horizon] = cdf[row]
    return found


def origins(length: int, layout: Layout) -> range:
    """Where the horizons that are counted from a series' end start: past a whole span, or half of a shorter series."""
    least = max(min(layout.span, length // 2), 1)
    count = max((length - least) // layout.horizon, 0)
    return range(length - count * layout.horizon, length, layout.horizon)


def window_log_probs(network: Any, windows: Windows) -> tuple[Any, Any]:
    """Log density in the data's unit and CDF, [windows, horizon]; NaN in constant windows and gaps."""
    inputs, horizon = windows.inputs(network.density.grid), windows.layout.horizon
    z, bins = inputs.z[:, -horizon:], inputs.bins[:, -horizon:]
    with torch.no_grad():
        law = network(inputs, horizon)
        log_prob, cdf = law.log_prob(z, bins).double(), law.cdf(z, bins).double()
    log_prob = log_prob - torch.log(windows.unit)[:, None]
    unknown = windows.constant[:, None] | ~windows.observed
    return log_prob.masked_fill(unknown, math.nan).numpy(), cdf.masked_fill(unknown, math.nan).numpy()
