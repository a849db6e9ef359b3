"""Scores of anomaly detectors on labelled windows: the rule of the Numenta Anomaly Benchmark, and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forescale.errors import ForescaleError

PROBATION, LONGEST = 0.15, 750  # the share and number of first values that are not judged
FALSE_ALARM = 0.11  # cost of one, of a missed window's 1: the standard profile
STEEPNESS, FAR = 5.0, 3.0  # of the credit in a window; widths behind a window where a false alarm costs it all
THRESHOLDS = 400
Window = tuple[int, int]
"""First and last step of a labelled anomaly."""


@dataclass(frozen=True, kw_only=True)
class NabScore:
    """How well a threshold on scores finds labelled windows."""

    score: float  # 100: every window at its first step and no false alarm; 0: silence
    threshold: float
    found: int  # windows with an alarm
    windows: int
    false_alarms: int  # values outside windows
    f1: float  # of windows found, against missed windows and false alarms


def nab_score(
    scores: Sequence[Any], windows: Sequence[Sequence[Window]], *, threshold: float | None = None
) -> NabScore:
    """Judge scores of several series, NaN where there is none, against their windows; one threshold for all.

    Without `threshold` it is the best one, as in the benchmark's published results, so that all detectors gain alike.
    An alarm in a window earns up to 1, the more the earlier, and only the best one counts; a missed window costs 1; a false
    alarm costs up to 0.11, less just behind a window. Source: Lavin and Ahmad 2015, arXiv 1510.03336, standard profile.
    """
    series = [np.nan_to_num(np.asarray(each, np.float64), nan=-np.inf) for each in scores]
    count = sum(map(len, windows))
    if len(series) != len(windows) or not count:
        raise ForescaleError("every series needs its list of windows, and one of them a window; got none.")
    earnings = [_credits(len(each), of_series) for each, of_series in zip(series, windows, strict=True)]
    if threshold is not None:
        return _judged(series, earnings, count, threshold)
    pool = np.concatenate([each[np.isfinite(each)] for each in series])
    tried = np.unique(np.quantile(pool, 1 - np.geomspace(1 / len(pool), 0.2, THRESHOLDS)))
    return max((_judged(series, earnings, count, float(each)) for each in tried), key=lambda judged: judged.score)


def _credits(length: int, windows: Sequence[Window]) -> tuple[Any, Any]:
    """What an alarm at each step earns, and which window it lies in: -1 outside, -2 in the probation."""
    step, within = np.arange(length), np.full(length, -1)
    behind = np.full(length, FAR)
    credit = np.zeros(length)
    for k, (first, last) in enumerate(sorted(windows)):
        width = last - first + 1
        behind[last + 1 :] = (step[last + 1 :] - last) / max(width - 1, 1)
        inside = slice(first, last + 1)
        within[inside] = k
        credit[inside] = _sigmoid((step[inside] - last - 1) / width) / _sigmoid(-1.0)
    outside = within == -1
    credit[outside] = FALSE_ALARM * np.where(behind >= FAR, -1.0, _sigmoid(behind))[outside]
    within[: int(min(PROBATION * length, LONGEST))] = -2
    return credit, within


def _sigmoid(place: Any) -> Any:
    """1 far before, 0 at, and -1 far behind a window's end."""
    return 2 / (1 + np.exp(STEEPNESS * place)) - 1


def _judged(series: Sequence[Any], earnings: Sequence[tuple[Any, Any]], windows: int, threshold: float) -> NabScore:
    earned, found, false = 0.0, 0, 0
    for scores, (credit, within) in zip(series, earnings, strict=True):
        alarm = scores >= threshold
        outside = alarm & (within == -1)
        earned += credit[outside].sum()
        false += int(outside.sum())
        hit = np.unique(within[alarm & (within >= 0)])
        found += len(hit)
        earned += sum(credit[alarm & (within == k)].max() for k in hit)
    raw = earned - (windows - found)
    f1 = 2 * found / (2 * found + (windows - found) + false)
    return NabScore(
        score=100 * (float(raw) + windows) / (2 * windows), threshold=threshold, found=found, windows=windows,
        false_alarms=false, f1=f1,
    )  # fmt: skip
