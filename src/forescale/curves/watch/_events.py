"""What happened in a run: spikes, changes of level, growing gradients and plateaus, each with how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from forescale.curves.watch import _scan
from forescale.curves.watch._prior import Tail, read_tails
from forescale.curves.watch._tail import Alarm, alarms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves.watch._log import Log
    from forescale.curves.watch._scan import Smoothed, Statistic

    Array = NDArray[np.float64]

EventKind = Literal["loss spike", "data change", "gradient-norm growth", "plateau", "diverged"]

Rare = Callable[[str, "Statistic"], list[Alarm]]  # of a statistic by its name, the alarms

FALSE_ALARMS = 0.1  # of each statistic, per 10,000 records
FEWEST = 100  # records, to tell anything from
NEAR = 2 * _scan.LONG  # records that one event spans
GONE = 1 / 3  # of a change that is left where a spike is over
SUDDEN: Mapping[str, tuple[str, Callable[[Smoothed], Statistic]]] = {
    "one": ("one_record", _scan.one_record),
    "few": ("few_records", _scan.few_records),
    "up": ("level_up", partial(_scan.level, sign=1.0)),
    "down": ("level_down", partial(_scan.level, sign=-1.0)),
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a healthy run does not do.

    `score` is log10 of 10,000 records over those between two false alarms of this size: 0 is one in 10,000, 2 one in a
    million; `false_alarms` says the same per 10,000 records. `size` is in nats, or the factor of a gradient norm.
    """

    step: float  # where it began
    kind: EventKind
    score: float
    false_alarms: float
    seen: float  # the step at which the alarm was given
    size: float
    said: str  # one sentence


def find_events(
    log: Log, *, false_alarms: float = FALSE_ALARMS, tails: Mapping[str, Tail] | None = None
) -> tuple[Event, ...]:
    """The events of a log in the order of their steps, each statistic with so many false alarms per 10,000 records.

    Every alarm is given from the records up to `seen`; what kind it is may be told from later ones. The first 200 records
    are not judged. `tails` are those of clean logs, by default the measured ones of prior.toml.
    """
    import numpy as np

    rare = partial(_rare, tails=tails or read_tails(), most=false_alarms)
    finite = np.isfinite(log.loss) & (log.loss > 0)
    found = _diverged(log, finite)
    step, loss = log.step[finite], log.loss[finite]
    if len(step) >= FEWEST:
        line = _scan.smoothed(np.log(loss))
        sudden = _sudden(step, loss, line, rare)
        found += sudden
        found += [each for each in _stalls(step, line, rare) if _alone(each, sudden)]
    if log.norm is not None:
        known = np.isfinite(log.norm) & (log.norm > 0)
        if known.sum() >= FEWEST:
            found += _growths(log.step[known], log.norm[known], rare)
    return tuple(sorted(found, key=lambda event: event.step))


def _rare(name: str, statistic: Statistic, tails: Mapping[str, Tail], most: float) -> list[Alarm]:
    return alarms(statistic, tails[name], most)


def _diverged(log: Log, finite: NDArray[np.bool_]) -> list[Event]:
    import numpy as np

    lost = np.flatnonzero(~finite)
    if not len(lost):
        return []
    at = float(log.step[lost[0]])
    many = f"{len(lost)} records have" if len(lost) > 1 else "one record has"
    said = f"the loss is not finite from step {at:,.0f} on: {many} no number"
    return [Event(step=at, kind="diverged", score=12.0, false_alarms=0.0, seen=at, size=math.inf, said=said)]


def _sudden(step: Array, loss: Array, line: Smoothed, rare: Rare) -> list[Event]:
    """Spikes and changes of level, one event for alarms that lie together."""
    tagged = [
        (alarm, tag)
        for tag, (name, statistic) in SUDDEN.items()
        for alarm in rare(name, statistic(line))
    ]
    groups: list[list[tuple[Alarm, str]]] = []
    for each in sorted(tagged):
        if groups and each[0].first - groups[-1][-1][0].first <= NEAR:
            groups[-1].append(each)
        else:
            groups.append([each])
    return [event for group in groups if (event := _event_of(group, step, loss, line)) is not None]


def _event_of(group: Sequence[tuple[Alarm, str]], step: Array, loss: Array, line: Smoothed) -> Event | None:
    best, first = min((a for a, _ in group), key=lambda a: a.false_alarms), group[0][0]
    lasting = [tag for _, tag in group if tag in ("up", "down")]
    sign = -1.0 if lasting and lasting[0] == "down" else 1.0
    onset = _onset(line, first.first, sign) if group[0][1] in ("up", "down") else _rise(line, first.first)
    size, left = _sizes(loss, line, onset, sign)
    if len(lasting) == len(group) and sign * size <= 0:
        return None  # the curve only bends
    kind: EventKind = "data change" if lasting and (left is None or left > GONE) else "loss spike"
    way = "rose" if sign > 0 else "fell"
    shown = abs(size) if kind == "data change" else float(loss[onset : onset + NEAR].max()) - _before(loss, onset)
    said = f"the loss {way} by {abs(shown):.2g} nats" + (" and stays there" if kind == "data change" else "")
    return _event(kind, float(step[onset]), float(step[first.first]), best.false_alarms, shown, said)


def _event(kind: EventKind, start: float, seen: float, rarity: float, size: float, said: str) -> Event:
    """An event; its score from its rarity."""
    return Event(step=start, kind=kind, score=-math.log10(rarity), false_alarms=rarity, seen=seen, size=size, said=said)


def _rise(line: Smoothed, at: int) -> int:
    """The first of the records up to `at` that lie together above two noise scales."""
    while at > 0 and line.residual[at - 1] > 2:
        at -= 1
    back = line.residual[max(at - _scan.SHORT, 0) : at + 1]
    return at - (len(back) - 1 - int((back > 2).argmax())) if (back > 2).any() else at


def _onset(line: Smoothed, at: int, sign: float) -> int:
    """Where a level changed: the record before which the residuals are lower (times `sign`) and after it higher."""
    import numpy as np

    first = max(at - NEAR, 0)
    part = sign * np.clip(line.residual[first : at + 1], -_scan.CLIP, _scan.CLIP)
    after = np.cumsum(part[::-1])[::-1]  # of each record and those behind it
    counts = np.arange(len(part), 0, -1)
    return first + int(np.argmax(after / np.sqrt(counts)))


def _before(loss: Array, onset: int) -> float:
    import numpy as np

    return float(np.median(loss[max(onset - _scan.LONG, 0) : max(onset, 1)]))


def _sizes(loss: Array, line: Smoothed, onset: int, sign: float) -> tuple[float, float | None]:
    """The change of the level right after the onset, and the share of it that is left two LONGs later; None: not yet known."""
    import numpy as np

    before = _before(loss, onset)
    now = loss[onset : onset + _scan.LONG]
    peak = float(np.quantile(now, 0.9 if sign > 0 else 0.1)) - before
    size = float(np.median(now)) - before
    later = loss[onset + 2 * _scan.LONG : onset + 3 * _scan.LONG]
    if len(later) < _scan.LONG // 2:
        return size, None
    noise = float(line.noise[onset]) * before
    return size, (float(np.median(later)) - before) / (sign * max(abs(peak) - 1.3 * noise, noise)) * sign


def _stalls(step: Array, line: Smoothed, rare: Rare) -> list[Event]:
    found: list[Event] = []
    for alarm in _firsts(rare("no_progress", _scan.no_progress(line))):
        start = _bend(line.tame, alarm.first)
        said = f"the loss has hardly fallen from step {step[start]:,.0f} to {step[alarm.at]:,.0f}"
        size = float(math.exp(line.tame[start]) * (line.tame[alarm.at] - line.tame[start]))
        found.append(_event("plateau", float(step[start]), float(step[alarm.first]), alarm.false_alarms, size, said))
    return found


def _bend(tame: Array, at: int) -> int:
    """Where a line over ln(record) that falls turns into one that does not: the bend that fits best in the last three quarters."""
    import numpy as np

    first = max(at // 4, 8)
    x = np.log(np.arange(first, at + 1) + 1.0)
    y = tame[first : at + 1]
    skip = max(len(y) // 200, 1)
    x, y = x[::skip], y[::skip]
    best, place = math.inf, first
    for cut in range(len(x) // 4, len(x) - 4, max(len(x) // 60, 1)):
        columns = np.column_stack([np.ones_like(x), np.minimum(x, x[cut])])
        error = float(np.sum((y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]) ** 2))
        if error < best:
            best, place = error, first + cut * skip
    return place


def _alone(event: Event, others: Sequence[Event]) -> bool:
    """A plateau that is not the trace of a jump of the loss within it."""
    return not any(
        other.kind == "data change" and other.size > 0 and event.step - NEAR <= other.step <= event.seen for other in others
    )


def _growths(step: Array, norm: Array, rare: Rare) -> list[Event]:
    import numpy as np

    found: list[Event] = []
    for alarm in _firsts(rare("growth", _scan.growth(norm))):
        window = max(alarm.first // _scan.WINDOW, _scan.LEAST)
        part = norm[alarm.first - window : alarm.first + 1]
        start = alarm.first - window + int(np.argmin(_medians(part)))
        factor = float(np.median(norm[alarm.first - window // 4 : alarm.first + 1]) / _medians(part).min())
        said = f"the gradient norm has grown {factor:.2g} times since step {step[start]:,.0f}"
        found.append(
            _event("gradient-norm growth", float(step[start]), float(step[alarm.first]), alarm.false_alarms, factor, said)
        )
    return found


def _medians(values: Array) -> Array:
    """Running medians over an eighth of the values, as many as values."""
    import numpy as np

    width = max(len(values) // 8, 1)
    inner = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return np.concatenate([inner, np.full(len(values) - len(inner), inner[-1])])


def _firsts(found: Sequence[Alarm]) -> list[Alarm]:
    """Of slow alarms that follow one another within a third of their records, the first."""
    kept: list[Alarm] = []
    for alarm in found:
        if not kept or alarm.first > 1.5 * kept[-1].at:
            kept.append(alarm)
    return kept
