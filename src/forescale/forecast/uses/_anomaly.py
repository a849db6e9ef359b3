"""How surprising each value was, given those before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import narwhals
import numpy as np

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR

nw: Any = narwhals
LEAST = 1e-7  # of a share of the law: float32 tells no smaller ones apart


def anomalies(model: C2FAR, data: Any, *, memory: int = 1) -> Any:
    """Scores of a long frame's values: unique_id, ds, y, score in bits.

    The score is -log2 of the probability of a value as far out on its side of the law or farther, on either side; over
    `memory` values it is their mean, for faults that last. Right laws give a single value more than s bits with a
    probability of 2^-s. A score of a jump between values of a discrete law is a lower bound. Values without a law (the first
    ones, those after a constant span) and gaps have none: null.
    """
    if isinstance(memory, bool) or int(memory) != memory or memory < 1:
        raise ForescaleError(f"memory must be a whole number of values from 1 on; got {memory}.")
    frame = nw.from_native(model.log_prob(data))
    names = frame["unique_id"].to_list() if "unique_id" in frame.columns else [""] * len(frame)
    bits = surprise(frame["cdf"].cast(nw.Float64).to_numpy().astype(float))
    scores = np.full(len(bits), np.nan)
    for name in dict.fromkeys(names):
        rows = np.array([each == name for each in names])
        scores[rows] = _recent_mean(bits[rows], memory)
    values = [None if math.isnan(score) else float(score) for score in scores]
    made = nw.new_series("score", values, nw.Float64, backend=frame.implementation)
    return frame.drop("log_prob", "cdf").with_columns(made).to_native()


def surprise(cdf: Any) -> Any:
    """Bits of both tails beyond a value: -log2 of 2 min(F, 1 - F)."""
    return -np.log2(2 * np.clip(np.minimum(cdf, 1 - cdf), LEAST, 0.5))


def _recent_mean(bits: Any, memory: int) -> Any:
    """Over the last values that have a score."""
    known = np.isfinite(bits)
    total, count = np.cumsum(np.where(known, bits, 0.0)), np.cumsum(known)
    earlier, fewer = (np.concatenate([np.zeros(memory), each])[: len(bits)] for each in (total, count))
    return np.where(known, (total - earlier) / np.maximum(count - fewer, 1), np.nan)
