"""How surprising each value was, given those before it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from forescale.errors import ForescaleError
from forescale.forecast._answers import value_frame
from forescale.forecast._likelihood import BATCH, window_log_probs
from forescale.forecast._windows import Cutter, Layout
from forescale.forecast.uses._coded import double_precision

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR

LEAST = 1e-15  # of a share of the law: float64 tells no smaller ones apart
NUMBERS = 2**21  # of windows at a time
HIGHEST, FIRST, EVERY = 0.01, 50, 10  # share of earlier scores; how many are needed; how often they are looked at
MOST = 1e6  # of an excess: earlier scores may all be alike


def anomalies(model: C2FAR, data: Any, *, memory: int = 1, span: int | None = None, calibrated: bool = False) -> Any:
    """Scores of a long frame's values: unique_id, ds, y, score in bits.

    The score is -log2 of the probability of a value as far out on its side of the law or farther, on either side; over
    `memory` values it is their mean, for faults that last. Right laws give a single value more than s bits with a
    probability of 2^-s. A score of a jump between values of a discrete law is a lower bound. `calibrated` scores are
    `excesses` over the series' own earlier ones, so that one threshold serves series whose laws fit well and badly.
    `span`, by default the model's, is how many values windows are normalised by: with a long one a value beyond all earlier
    ones lies beyond the grid. Values without a law (the first eighth or span, those after a constant span) and gaps have no
    score: null.
    """
    for name, number in (("memory", memory), ("span", 2 if span is None else span)):
        if isinstance(number, bool) or int(number) != number or number < 1 + (name == "span"):
            raise ForescaleError(
                f"{name} must be a whole number of values, 1 of memory or 2 of span or more; got {number}."
            )
    panel, origin = model._read(data)  # pyright: ignore[reportPrivateUsage]
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    layout = dataclasses.replace(layout, span=span or layout.span)
    cutter, network = Cutter(panel, layout), double_precision(network)
    found: list[Any] = []
    for number, values in enumerate(panel.values):
        seen, scores = np.isfinite(values), np.full(len(values), np.nan)
        recent = _recent_mean(surprise(_shares(network, cutter, number, len(values)))[seen], memory)
        scores[seen] = excesses(recent) if calibrated else recent
        found.append(scores)
    return value_frame(panel, origin, {"score": found})


def surprise(cdf: Any) -> Any:
    """Bits of both tails beyond a value: -log2 of 2 min(F, 1 - F)."""
    return -np.log2(2 * np.clip(np.minimum(cdf, 1 - cdf), LEAST, 0.5))


def excesses(scores: Any) -> Any:
    """By how much each score [values] exceeds the highest hundredth of those before it, in units of their mean excess.

    Excesses over a high level are about exponential for many laws, so the number is comparable between series. One excess
    of a standard deviation is added to those seen, for there are few at first. NaN for the first 50 scores. Source: peaks
    over threshold, as Siffer et al., KDD 2017, with an exponential tail.
    """
    scores = np.asarray(scores, np.float64)
    found, known = np.full(len(scores), np.nan), np.flatnonzero(np.isfinite(scores))
    for start in range(FIRST, len(known), EVERY):
        past = scores[known[:start]]
        place = int(len(past) * (1 - HIGHEST))
        top = np.partition(past, place)[place:]
        level = top.min()
        mean = max(((top - level).sum() + past.std()) / (len(top) + 1), np.finfo(float).tiny)
        now = known[start : start + EVERY]
        excess = scores[now] - level
        found[now] = excess / np.maximum(mean, np.abs(excess) / MOST)
    return found


def _shares(network: Any, cutter: Cutter, number: int, length: int) -> Any:
    """The share of the law below each value of a series; NaN where there is none."""
    layout, found = cutter.layout, np.full(length, np.nan)
    origins = _origins(length, layout)
    size = max(min(BATCH, NUMBERS // (layout.reach + layout.horizon)), 1)
    for start in range(0, len(origins), size):
        part = origins[start : start + size]
        windows = cutter.cut(torch.tensor([number] * len(part)), torch.tensor(part))
        doubled = {name: getattr(windows, name).double() for name in ("z", "calendar", "static")}
        _, cdf = window_log_probs(network, dataclasses.replace(windows, **doubled))
        found[part[0] : part[-1] + layout.horizon] = cdf.reshape(-1)
    return found


def _origins(length: int, layout: Layout) -> list[int]:
    """Where the horizons that are counted from a series' end start: past a span, or an eighth of a shorter series."""
    least = max(min(layout.span, length // 8), 2)
    count = max((length - least) // layout.horizon, 0)
    return list(range(length - count * layout.horizon, length, layout.horizon))


def _recent_mean(bits: Any, memory: int) -> Any:
    """Over the last values that have a score."""
    known = np.isfinite(bits)
    total, count = np.cumsum(np.where(known, bits, 0.0)), np.cumsum(known)
    earlier, fewer = (np.concatenate([np.zeros(memory), each])[: len(bits)] for each in (total, count))
    return np.where(known, (total - earlier) / np.maximum(count - fewer, 1), np.nan)
