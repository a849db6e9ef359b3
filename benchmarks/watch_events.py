"""False alarms on real runs and the delay to faults planted in them, for the watch's detectors and for plain rivals.

The faults: a spike of k noise scales that fades over ten records; a level that stays k noise scales higher; a trend that stops
(the smooth part of the curve held from there on); a gradient norm that doubles every 1,000 records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from forescale.curves.watch import _scan
from forescale.curves.watch._events import SUDDEN, find_events
from forescale.curves.watch._log import Log
from forescale.curves.watch._prior import Tail, read_tails
from watch_data import Array, Run

SKIP = 300  # records at the start: no alarm there counts
PLACES = (0.5,)  # of a run, where a fault begins
FADES, DOUBLES = 10.0, 1000.0  # records
SOON = {"loss spike": 64, "data change": 256, "plateau": 10**9, "gradient-norm growth": 4000}  # records to be seen in
Alarms = list[int]


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """Tails of every second run; false alarms on the others, and faults planted in half of those."""
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
        "faults": [_fault(kind, size, learn[::2], test[::2], tails) for kind, size in FAULTS],
    }


FAULTS: tuple[tuple[str, float], ...] = (
    *(("loss spike", k) for k in (2.0, 3.0, 5.0, 8.0)),
    *(("data change", k) for k in (0.5, 1.0, 2.0)),
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
        made[source] = {"records": records, **{kind: round(1e4 * kinds.count(kind) / records, 3) for kind in SOON}}
    records = sum(each["records"] for each in made.values())
    kinds = [kind for found in clean.values() for _, kind in found]
    made["all"] = {"records": records, **{kind: round(1e4 * kinds.count(kind) / records, 3) for kind in SOON}}
    made["all"]["together"] = round(1e4 * len(kinds) / records, 3)
    return made


def _fault(kind: str, size: float, learn: Sequence[Run], test: Sequence[Run], tails: dict[str, Tail]) -> dict[str, Any]:
    """How often and how late a fault is seen, by the watch and by its rivals at the same rate of false alarms."""
    having = [run for run in test if run.norm is not None or kind != "gradient-norm growth"]
    ours: list[int | None] = []
    named = 0
    for run in having:
        for place in PLACES:
            at = int(place * len(run.step))
            found = [(t, k) for t, k in _ours(_planted(run, kind, size, at), tails) if at <= t <= at + SOON[kind]]
            ours.append(found[0][0] - at if found else None)
            named += bool(found) and found[0][1] == kind
    seen = [delay for delay in ours if delay is not None]
    result: dict[str, Any] = {"kind": kind, "size": size, "planted": len(ours)}
    result["watch"] = _told(ours) | {"named_rightly": round(named / len(seen), 3) if seen else None}
    for name, rival in RIVALS[kind].items():
        most = 0.1 * (
            4 if kind in ("loss spike", "data change") else 1
        )  # as the watch's statistics of that fault together
        limit = _limit(rival, [run for run in learn if run.norm is not None or kind != "gradient-norm growth"], most)
        delays: list[int | None] = []
        for run in having:
            for place in PLACES:
                at = int(place * len(run.step))
                when = [
                    t for t in _crossings(rival(_planted(run, kind, size, at)), limit) if at <= t <= at + SOON[kind]
                ]
                delays.append(when[0] - at if when else None)
        records = sum(len(run.step) - SKIP for run in having)
        alarms = sum(len(_crossings(rival(run), limit)) for run in having)
        result[name] = _told(delays) | {"false_alarms_per_10k": round(1e4 * alarms / records, 3)}
    return result


def _told(delays: Sequence[int | None]) -> dict[str, Any]:
    seen = [delay for delay in delays if delay is not None]
    return {
        "seen": round(len(seen) / len(delays), 3),
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


def _z_score(run: Run) -> Array:
    """A record against mean and standard deviation of the 100 before it."""
    values, width = np.log(run.loss), 100
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


EWMA_FAST: dict[str, Rival] = {
    "z-score": _z_score,
    "EWMA 0.2": lambda run: _ewma(np.log(run.loss), 0.2, 0.01),
    "EWMA 0.05": lambda run: _ewma(np.log(run.loss), 0.05, 0.005),
}
RIVALS: dict[str, dict[str, Rival]] = {
    "loss spike": EWMA_FAST,
    "data change": EWMA_FAST,
    "plateau": {"patience": _patience, "EWMA 0.005": lambda run: _ewma(np.log(run.loss), 0.005, 0.001)},
    "gradient-norm growth": {
        "EWMA 0.05": lambda run: _ewma(_norms(run), 0.05, 0.005),
        "EWMA 0.01": lambda run: _ewma(_norms(run), 0.01, 0.001),
    },
}


def _crossings(values: Array, limit: float) -> Alarms:
    """Records at which it goes over the limit, those within 64 records of one another once."""
    over = np.flatnonzero(values[SKIP:] > limit) + SKIP
    return [int(at) for i, at in enumerate(over) if i == 0 or at - over[i - 1] > 64]


def _limit(rival: Rival, runs: Sequence[Run], most: float) -> float:
    """The lowest limit with at most so many false alarms per 10,000 records of these runs."""
    values = [rival(run) for run in runs]
    records = sum(len(run.step) - SKIP for run in runs)
    tries = np.unique(np.concatenate([np.sort(each[SKIP:])[-200:] for each in values]))
    low, high = 0, len(tries) - 1
    while low < high:
        half = (low + high) // 2
        count = sum(len(_crossings(each, float(tries[half]))) for each in values)
        low, high = (half + 1, high) if 1e4 * count / records > most else (low, half)
    return float(tries[low])
