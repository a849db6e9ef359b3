"""Scores of anomaly detectors on labelled windows: the rule of the Numenta Anomaly Benchmark, and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from forescale.errors import ForescaleError

PROBATION, LONGEST = 0.15, 750  # the share and number of first values that are not judged
FALSE_ALARM = 0.11  # cost of one, of a missed window's 1: the standard profile
STEEPNESS, FAR = 5.0, 3.0  # of the credit in a window; widths behind a window where a false alarm costs it all
OUTSIDE, PROBATIONARY = -1, -2  # instead of a window's number
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
    scores: Sequence[Any],
    windows: Sequence[Sequence[Window]],
    *,
    threshold: float | None = None,
    best: Literal["score", "f1"] = "score",
) -> NabScore:
    """Judge scores of several series, NaN where there is none, against their windows; one threshold for all.

    Without `threshold` it is the one whose `best`, score or F1, is highest, as in the benchmark's published results, so that
    all detectors gain alike; infinity, for silence, where alarms cost more than they earn. An alarm in a window earns up to
    1, the more the earlier, and only the best one counts; a missed window costs 1; a false alarm costs up to 0.11, less just
    behind a window. Source: Lavin and Ahmad 2015, arXiv 1510.03336, standard profile.
    """
    series = [np.nan_to_num(np.asarray(each, np.float64), nan=-np.inf) for each in scores]
    count = sum(map(len, windows))
    if len(series) != len(windows) or not count:
        raise ForescaleError("every series needs its list of windows, and one of them a window; got none.")
    earnings = [_credits(len(each), of_series) for each, of_series in zip(series, windows, strict=True)]
    swept = _sweep(series, earnings, count)
    if threshold is not None:
        return swept.at(int(np.searchsorted(-swept.thresholds, -threshold, side="right")) - 1)
    return swept.at(int(np.argmax(swept.raw if best == "score" else swept.f1)))


def _credits(length: int, windows: Sequence[Window]) -> tuple[Any, Any]:
    """What an alarm at each step earns, and which window it lies in."""
    step, within = np.arange(length), np.full(length, OUTSIDE)
    behind = np.full(length, FAR)
    credit = np.zeros(length)
    for k, (first, last) in enumerate(sorted(windows)):
        width = last - first + 1
        behind[last + 1 :] = (step[last + 1 :] - last) / max(width - 1, 1)
        inside = slice(first, last + 1)
        within[inside] = k
        credit[inside] = _sigmoid((step[inside] - last - 1) / width) / _sigmoid(-1.0)
    outside = within == OUTSIDE
    credit[outside] = FALSE_ALARM * np.where(behind >= FAR, -1.0, _sigmoid(behind))[outside]
    within[: int(min(PROBATION * length, LONGEST))] = PROBATIONARY
    return credit, within


def _sigmoid(place: Any) -> Any:
    """1 far before, 0 at, and -1 far behind a window's end."""
    return 2 / (1 + np.exp(STEEPNESS * place)) - 1


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What every threshold comes to, from infinity down to the lowest score."""

    windows: int
    thresholds: Any
    raw: Any  # earned, less 1 for each missed window
    found: Any
    false: Any

    @property
    def f1(self) -> Any:
        return 2 * self.found / (self.found + self.windows + self.false)

    def at(self, k: int) -> NabScore:
        return NabScore(
            score=50 * (1 + float(self.raw[k]) / self.windows), threshold=float(self.thresholds[k]),
            found=int(self.found[k]), windows=self.windows, false_alarms=int(self.false[k]), f1=float(self.f1[k]),
        )  # fmt: skip


def _sweep(series: Sequence[Any], earnings: Sequence[tuple[Any, Any]], windows: int) -> _Sweep:
    """Every value becomes an alarm in the order of its score: what it adds to the sum, and what all so far come to."""
    scores, credit = np.concatenate(series), np.concatenate([each for each, _ in earnings])
    within = _numbered([each for _, each in earnings])
    order: Any = np.argsort(-scores, kind="stable")
    order = order[(within[order] != PROBATIONARY) & np.isfinite(scores[order])]
    scores, credit, within = scores[order], credit[order], within[order]
    gain, outside = np.where(within == OUTSIDE, credit, 0.0), within == OUTSIDE
    first = np.zeros(len(order), bool)
    for k in range(windows):
        hits: Any = np.flatnonzero(within == k)
        gain[hits] = np.diff(np.maximum.accumulate(credit[hits]), prepend=-1.0)
        first[hits[:1]] = True
    last_of_ties = np.append(scores[1:] != scores[:-1], len(scores) > 0)[: len(scores)]
    thresholds, *sums = (
        np.concatenate([[start], each[last_of_ties]])
        for start, each in (
            (np.inf, scores), (-windows, gain.cumsum() - windows), (0, first.cumsum()), (0, outside.cumsum()),
        )
    )  # fmt: skip
    return _Sweep(windows=windows, thresholds=thresholds, raw=sums[0], found=sums[1], false=sums[2])


def _numbered(within: Sequence[Any]) -> Any:
    """The windows of all series numbered through."""
    numbers: list[Any] = []
    before = 0
    for each in within:
        numbers.append(np.where(each >= 0, each + before, each))
        before += int(each.max(initial=-1)) + 1
    return np.concatenate(numbers)
