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
FAR = 2.5  # noise scales
TENTH = 0.1  # of a growth, up to which it has not begun
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
    tagged = [(alarm, tag) for tag, (name, statistic) in SUDDEN.items() for alarm in rare(name, statistic(line))]
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
    sign = -1.0 if group[0][1] == "down" else 1.0
    onset = _onset(line, first.first, sign) if group[0][1] in ("up", "down") else _rise(line, first.first)
    size, left = _sizes(loss, line, onset, sign)
    if len(lasting) == len(group) and sign * size <= 0:
        return None  # the curve only bends
    stays = bool(lasting) and (left is None or left > GONE)
    kind: EventKind = "data change" if stays else "loss spike"
    way = "rose" if sign > 0 else "fell"
    over = loss[onset : onset + NEAR] - _expected(loss, onset, onset, onset + NEAR)
    shown = size if kind == "data change" else float(over.max())
    said = f"the loss {way} by {abs(shown):.2g} nats" + (" and stays there" if kind == "data change" else "")
    return _event(kind, float(step[onset]), float(step[first.first]), best.false_alarms, shown, said)


def _event(kind: EventKind, start: float, seen: float, rarity: float, size: float, said: str) -> Event:
    """An event; its score from its rarity."""
    return Event(step=start, kind=kind, score=-math.log10(rarity), false_alarms=rarity, seen=seen, size=size, said=said)


def _rise(line: Smoothed, at: int) -> int:
    """The first of the last few records up to `at` that lies far above, or the last."""
    back = line.residual[max(at - _scan.SHORT + 1, 0) : at + 1]
    return at - (len(back) - 1 - int((back > FAR).argmax())) if (back > FAR).any() else at


def _onset(line: Smoothed, at: int, sign: float) -> int:
    """Where a level changed: the record before which the residuals are lower (times `sign`) and after it higher."""
    import numpy as np

    first = max(at - NEAR, 0)
    part = sign * np.clip(line.residual[first : at + 1], -_scan.CLIP, _scan.CLIP)
    after = np.cumsum(part[::-1])[::-1]  # of each record and those behind it
    counts = np.arange(len(part), 0, -1)
    return first + int(np.argmax(after / np.sqrt(counts)))


def _sizes(loss: Array, line: Smoothed, onset: int, sign: float) -> tuple[float, float | None]:
    """The change of the level right after the onset, and the share of it that is left two LONGs later; None: not yet known."""
    import numpy as np

    now = loss[onset : onset + _scan.LONG] - _expected(loss, onset, onset, onset + _scan.LONG)
    later = loss[onset + 2 * _scan.LONG : onset + 3 * _scan.LONG]
    size = float(np.median(now))
    if len(later) < _scan.LONG // 2:
        return size, None
    start = onset + 2 * _scan.LONG
    left = float(np.median(later - _expected(loss, onset, start, start + len(later))))
    noise = float(line.noise[onset] * loss[onset])
    peak = sign * float(np.quantile(now, 0.5 + 0.4 * sign)) - 1.3 * noise  # of noise alone it would be 0
    return size, sign * left / max(peak, noise / 2)


def _expected(loss: Array, onset: int, first: int, last: int) -> Array:
    """What the records before the onset lead to expect of later ones: a line in ln(record)."""
    import numpy as np

    start = max(onset - 4 * _scan.LONG, 0)
    x = np.log(np.arange(start, onset) + 1.0)
    at = np.log(np.arange(first, min(last, len(loss))) + 1.0)
    slope, height = np.polyfit(x, loss[start:onset], 1) if len(x) > _scan.LONG else (0.0, np.median(loss[: onset + 1]))
    return height + slope * at


def _stalls(step: Array, line: Smoothed, rare: Rare) -> list[Event]:
    """Plateaus, and levels that changed by too little to be seen at once: whichever fits the records better."""
    found: list[Event] = []
    for alarm in _firsts(rare("no_progress", _scan.no_progress(line))):
        start, jump = _bend_or_jump(line.tame, alarm.first)
        scale = float(math.exp(line.tame[start]))
        if jump is not None:
            said, size = f"the loss rose by {jump * scale:.2g} nats and stays there", jump * scale
        else:
            said = f"the loss has hardly fallen from step {step[start]:,.0f} to {step[alarm.at]:,.0f}"
            size = scale * float(line.tame[alarm.at] - line.tame[start])
        kind: EventKind = "plateau" if jump is None else "data change"
        found.append(_event(kind, float(step[start]), float(step[alarm.first]), alarm.false_alarms, size, said))
    return found


def _bend_or_jump(tame: Array, at: int) -> tuple[int, float | None]:
    """Of a line over ln(record) that turns flat, and one that jumps, the better: the record where it does, and the jump."""
    import numpy as np

    first = max(at // 4, 8)
    width = max((at - first) // 200, 1)
    count = (at - first) // width
    y = tame[at - count * width : at].reshape(count, width).mean(1)
    places = at - count * width + (np.arange(count) + 0.5) * width
    x = np.log(places + 1)
    line = np.column_stack([np.ones_like(x), x])
    tries: list[tuple[float, int, float | None]] = []
    for cut in range(count // 4, count - 4, max(count // 80, 1)):
        bent, _ = _fitted(np.column_stack([line[:, 0], np.minimum(x, x[cut])]), y)
        jumped, risen = _fitted(np.column_stack([line, x > x[cut]]), y)
        tries.append((bent, int(places[cut]), None))
        if risen > 0:
            tries.append((jumped * (1 + 2 / count), int(places[cut]), risen))  # it has one number more to fit with
    _, place, jump = min(tries, key=lambda each: each[0], default=(0.0, first, None))
    return place, jump


def _fitted(columns: Array, values: Array) -> tuple[float, float]:
    """The sum of squares that the columns leave, and the last one's coefficient."""
    import numpy as np

    solved = np.asarray(np.linalg.lstsq(columns, values, rcond=None)[0], float)
    return float(np.sum((values - columns @ solved) ** 2)), float(solved[-1])


def _alone(event: Event, others: Sequence[Event]) -> bool:
    """A plateau that is not the trace of a jump of the loss within it."""
    return not any(
        other.kind == "data change" and other.size > 0 and event.step - NEAR <= other.step <= event.seen
        for other in others
    )


def _growths(step: Array, norm: Array, rare: Rare) -> list[Event]:
    import numpy as np

    found: list[Event] = []
    for alarm in _firsts(rare("growth", _scan.growth(norm))):
        window = max(alarm.first // _scan.WINDOW, _scan.LEAST)
        medians = _medians(norm[alarm.first - window : alarm.first + 1])
        factor = float(np.median(norm[alarm.first - window // 4 : alarm.first + 1]) / medians.min())
        quiet = np.flatnonzero(medians <= medians.min() * (1 + TENTH * (factor - 1)))
        start = alarm.first - window + int(quiet[-1])
        said = f"the gradient norm has grown {factor:.2g} times since step {step[start]:,.0f}"
        found.append(
            _event(
                "gradient-norm growth", float(step[start]), float(step[alarm.first]), alarm.false_alarms, factor, said
            )
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
