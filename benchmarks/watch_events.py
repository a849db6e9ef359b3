"""False alarms on real runs and the delay to faults planted in them, for the watch's detectors and for plain rivals.

The faults: a spike of k noise scales that fades over ten records; a level that stays k noise scales higher; a drift up by k
noise scales in 1,000 records; a trend that stops (the smooth part of the curve held from there on); a gradient norm that
doubles every 1,000 records. Each is planted in every judged run, at three places.

A rival's threshold is the lowest with at most as many false alarms as the watch's statistics of that fault give, both on the
judged runs as they are: so all are compared at equal false alarms, and the rivals, unlike the watch, have seen the judged runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from forescale.curves.watch import _scan
from forescale.curves.watch._events import SUDDEN, find_events
from forescale.curves.watch._log import Log
from forescale.curves.watch._prior import Tail, read_tails
from watch_data import Array, Run

SKIP = 300  # records at the start: no alarm there counts
PLACES = (0.3, 0.5, 0.7)  # of a run, where a fault begins
FADES, DOUBLES = 10.0, 1000.0  # records
SOON = {  # records to be seen in
    "loss spike": 64,
    "data change": 256,
    "slow drift": 4000,
    "plateau": 10**9,
    "gradient-norm growth": 4000,
}
ALARMS = {  # kinds of event whose false alarms a fault's rivals may have, and names for it that are right
    "loss spike": (("loss spike", "data change"), ("loss spike",)),
    "data change": (("loss spike", "data change"), ("data change",)),
    "slow drift": (("plateau", "data change"), ("plateau", "data change")),
    "plateau": (("plateau", "data change"), ("plateau",)),
    "gradient-norm growth": (("gradient-norm growth",), ("gradient-norm growth",)),
}
KINDS = ("loss spike", "data change", "plateau", "gradient-norm growth")  # of events
Alarms = list[int]


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """Tails of every second run; false alarms on the others, and faults planted in them."""
    learn, test = list(runs[::2]), list(runs[1::2])
    tails = {name: _learnt(name, learn) for name in read_tails()}
    clean = {run.name: _ours(run, tails) for run in test}
    records = sum(len(run.step) - SKIP for run in test)
    return {
        "learnt_on": len(learn),
        "counted_on": len(test),
        "records": records,
        "tails": {name: vars(tail) for name, tail in tails.items()},
        "false_alarms_per_10k": _false_alarms(test, clean),
        "faults": [_fault(kind, size, test, tails, clean) for kind, size in FAULTS],
    }


FAULTS: tuple[tuple[str, float], ...] = (
    *(("loss spike", k) for k in (2.0, 3.0, 5.0, 8.0)),
    *(("data change", k) for k in (0.5, 1.0, 2.0)),
    *(("slow drift", k) for k in (0.5, 1.0)),
    ("plateau", 0.0),
    ("gradient-norm growth", 2.0),
)


def _ours(run: Run, tails: dict[str, Tail]) -> list[tuple[int, str]]:
    """Record and kind of each event, as given."""
    log = Log(name="", step=np.arange(len(run.loss), dtype=float), loss=run.loss, norm=run.norm, **NO_VAL)
    return [(int(event.seen), event.kind) for event in find_events(log, tails=tails) if event.seen >= SKIP]


NO_VAL: dict[str, Any] = {"val_step": np.empty(0), "val_loss": np.empty(0)}


def _learnt(name: str, runs: Sequence[Run]) -> Tail:
    """The tail of a statistic over clean runs; one that never rises keeps one peak of the shipped excess."""
    shipped = read_tails()[name]
    excess: list[float] = []
    records = 0
    for run in runs:
        if name == "growth" and run.norm is None:
            continue
        line = _scan.smoothed(np.log(run.loss))
        made = dict(SUDDEN.values())
        statistic = (
            _scan.growth(run.norm)
            if name == "growth" and run.norm is not None
            else made[name](line)
            if name in made
            else _scan.no_progress(line)
        )
        above = np.flatnonzero((statistic.value > shipped.floor) & (statistic.at >= SKIP))
        groups = np.split(above, np.flatnonzero(np.diff(statistic.at[above]) > statistic.apart) + 1)
        excess += [float(statistic.value[g].max()) - shipped.floor for g in groups if len(g)]
        records += len(run.step) - SKIP
    mean = float(np.mean(excess)) if len(excess) > 3 else shipped.excess
    return Tail(floor=shipped.floor, rate=(len(excess) + 1) / records, excess=mean)


def _false_alarms(test: Sequence[Run], clean: dict[str, list[tuple[int, str]]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for source in dict.fromkeys(run.source for run in test):
        own = [run for run in test if run.source == source]
        records = sum(len(run.step) - SKIP for run in own)
        kinds = [kind for run in own for _, kind in clean[run.name]]
        made[source] = {"records": records, **{kind: round(1e4 * kinds.count(kind) / records, 3) for kind in KINDS}}
    records = sum(each["records"] for each in made.values())
    kinds = [kind for found in clean.values() for _, kind in found]
    made["all"] = {"records": records, **{kind: round(1e4 * kinds.count(kind) / records, 3) for kind in KINDS}}
    made["all"]["together"] = round(1e4 * len(kinds) / records, 3)
    return made


def _fault(
    kind: str, size: float, test: Sequence[Run], tails: dict[str, Tail], clean: dict[str, list[tuple[int, str]]]
) -> dict[str, Any]:
    """How often and how late a fault is seen, by the watch and by its rivals at the same rate of false alarms."""
    having = [run for run in test if run.norm is not None or kind != "gradient-norm growth"]
    faulty = [(int(place * len(run.step)), run) for run in having for place in PLACES]
    planted = [(at, _planted(run, kind, size, at)) for at, run in faulty]
    counted, right = ALARMS[kind]
    found = [[(t, k) for t, k in _ours(run, tails) if at <= t <= at + SOON[kind]] for at, run in planted]
    delays = [each[0][0] - at if each else None for each, (at, _) in zip(found, planted, strict=True)]
    names = Counter(each[0][1] for each in found if each)
    named = sum(count for name, count in names.items() if name in right)
    records = sum(len(run.step) - SKIP for run in having)
    most = sum(k in counted for run in having for _, k in clean[run.name])
    result: dict[str, Any] = {"kind": kind, "size": size, "planted": len(planted)}
    result["watch"] = _told(delays) | {
        "named_rightly": round(named / max(sum(names.values()), 1), 3),
        "named": dict(names),
        "false_alarms_per_10k": round(1e4 * most / records, 3),
    }
    return result | {name: _rival(rival, having, planted, kind, most) for name, rival in RIVALS[kind].items()}


def _rival(
    rival: Rival, having: Sequence[Run], planted: Sequence[tuple[int, Run]], kind: str, most: int
) -> dict[str, Any]:
    values = [rival(run) for run in having]
    limit = _limit(values, most)
    delays: list[int | None] = []
    for at, run in planted:
        when = [t for t in _crossings(rival(run), limit) if at <= t <= at + SOON[kind]]
        delays.append(when[0] - at if when else None)
    records = sum(len(run.step) - SKIP for run in having)
    alarms = sum(len(_crossings(each, limit)) for each in values)
    return _told(delays) | {"false_alarms_per_10k": round(1e4 * alarms / records, 3)}


def _told(delays: Sequence[int | None]) -> dict[str, Any]:
    """The share that is seen with its 95 % interval by Wilson, and the delays of those seen."""
    seen, count, z = [delay for delay in delays if delay is not None], len(delays), 1.96
    share = len(seen) / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return {
        "seen": round(share, 3),
        "seen_95": [round(max(middle - reach, 0.0), 3), round(min(middle + reach, 1.0), 3)],
        "median_delay": float(np.median(seen)) if seen else None,
        "late_delay": float(np.quantile(seen, 0.9)) if seen else None,
    }


def _planted(run: Run, kind: str, size: float, at: int) -> Run:
    """The run with a fault from record `at` on."""
    after = np.maximum(np.arange(len(run.step)) - at, 0)
    began = np.arange(len(run.step)) >= at
    log_loss, norm = np.log(run.loss), run.norm
    noise = float(_scan.smoothed(log_loss).noise[at])
    if kind == "loss spike":
        log_loss = log_loss + size * noise * np.exp(-after / FADES) * began
    elif kind == "data change":
        log_loss = log_loss + size * noise * began
    elif kind == "slow drift":
        log_loss = log_loss + size * noise * after / DOUBLES
    elif kind == "plateau":
        smooth = _smooth(log_loss)
        log_loss = np.where(began, log_loss - smooth + smooth[at], log_loss)
    elif norm is not None:
        norm = norm * size ** (after / DOUBLES)
    return Run(
        source=run.source,
        name=run.name,
        step=run.step,
        loss=np.exp(log_loss),
        total=run.total,
        rate=run.rate,
        norm=norm,
    )


def _smooth(values: Array) -> Array:
    """The curve without its noise, from both sides: a polynomial in ln(record)."""
    x = np.log(np.arange(len(values)) + 30.0)
    return np.polynomial.Polynomial.fit(x, values, 9)(x)


Rival = Callable[[Run], Array]  # a statistic a record


def _z_score(run: Run, width: int) -> Array:
    """A record against mean and standard deviation of so many before it."""
    values = np.log(run.loss)
    sums, squares = (np.cumsum(np.append(0.0, each)) for each in (values, values**2))
    mean = (sums[width:-1] - sums[: -width - 1]) / width
    spread = np.sqrt(np.maximum((squares[width:-1] - squares[: -width - 1]) / width - mean**2, 1e-12))
    return np.append(np.zeros(width), (values[width:] - mean) / spread)


def _ewma(values: Array, fast: float, slow: float) -> Array:
    """A chart of exponential means: a fast one less a slow one, over the standard deviation that noise gives it."""
    level = float(np.mean(values[:20]))
    quick, spread, made = level, float(np.std(np.diff(values[:40]))) / 2**0.5, np.zeros(len(values))
    for i, value in enumerate(values.tolist()):
        made[i] = (quick := quick + fast * (value - quick)) - level
        made[i] /= max(spread, 1e-9) * (fast / (2 - fast)) ** 0.5
        spread += slow * (1.2533 * abs(value - level) - spread)
        level += slow * (value - level)
    return made


def _patience(run: Run) -> Array:
    """Records since the mean of the last 100 losses was lowest, as a share of all."""
    sums = np.cumsum(np.append(0.0, np.log(run.loss)))
    means = (sums[100:] - sums[:-100]) / 100
    place = np.arange(len(means))
    best = np.maximum.accumulate(np.where(means <= np.minimum.accumulate(means), place, 0))
    return np.append(np.zeros(99), (place - best) / (place + 100))


def _norms(run: Run) -> Array:
    assert run.norm is not None
    return np.log(run.norm)


SUDDEN_RIVALS: dict[str, Rival] = {
    **{f"z-score {width}": partial(_z_score, width=width) for width in (30, 100, 300)},
    "EWMA 0.5": lambda run: _ewma(np.log(run.loss), 0.5, 0.01),
    "EWMA 0.2": lambda run: _ewma(np.log(run.loss), 0.2, 0.01),
    "EWMA 0.05": lambda run: _ewma(np.log(run.loss), 0.05, 0.005),
}
SLOW_RIVALS: dict[str, Rival] = {
    "no new best": _patience,
    "z-score 300": partial(_z_score, width=300),
    "EWMA 0.02": lambda run: _ewma(np.log(run.loss), 0.02, 0.002),
    "EWMA 0.005": lambda run: _ewma(np.log(run.loss), 0.005, 0.001),
}
RIVALS: dict[str, dict[str, Rival]] = {
    "loss spike": SUDDEN_RIVALS,
    "data change": SUDDEN_RIVALS,
    "slow drift": SLOW_RIVALS,
    "plateau": SLOW_RIVALS,
    "gradient-norm growth": {
        "z-score 300": lambda run: _z_score(replace(run, loss=run.norm), 300),
        "EWMA 0.05": lambda run: _ewma(_norms(run), 0.05, 0.005),
        "EWMA 0.01": lambda run: _ewma(_norms(run), 0.01, 0.001),
    },
}


def _crossings(values: Array, limit: float) -> Alarms:
    """Records at which it goes over the limit, those within 64 records of one another once."""
    over = np.flatnonzero(values[SKIP:] > limit) + SKIP
    return [int(at) for i, at in enumerate(over) if i == 0 or at - over[i - 1] > 64]


def _limit(values: Sequence[Array], most: int) -> float:
    """The lowest limit with at most so many alarms."""
    tries = np.unique(np.concatenate([np.sort(each[SKIP:])[-200:] for each in values]))
    low, high = 0, len(tries) - 1
    while low < high:
        half = (low + high) // 2
        count = sum(len(_crossings(each, float(tries[half]))) for each in values)
        low, high = (half + 1, high) if count > most else (low, half)
    return float(tries[low])
