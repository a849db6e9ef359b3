"""The learning rates of a whole run: as its settings state them, or what goes on from those that it logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.curves.watch._end import PARTS
from forescale.curves.watch._go_on import FLAT, ways_on
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves.watch._log import Log
    from forescale.schedules import Schedule

    Array = NDArray[np.float64]

# Of a run whose schedule nothing says: each usual one with its share of belief. The shares are a choice, not measured.
USUAL = {"linear": 0.25, "cosine:final=0.1": 0.2, "cosine:final=0": 0.15, "wsd": 0.3, "constant": 0.1}
WARMUP = 0.02  # of a run, where nothing says it
RISING = 0.01  # of the peak, that a rate in its warmup has still to go at the start


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Schedules that a run may have, by name: their share of belief and their rates, PARTS of them evenly over the run."""

    of: Mapping[str, tuple[float, Array]]
    known: bool  # one schedule, stated or seen in the rates so far
    said: str  # how it is known


def rates_of(log: Log, total: float, schedule: str | None = None) -> Rates:
    """The rates of a run of `total` steps: by the schedule named, by its settings, by its logged rates, or the usual ones."""
    if schedule is not None:
        return _one(_named(schedule, log, total), f"{schedule} was named")
    if (stated := _stated(log, total)) is not None:
        return _one(stated[1], f"{stated[0]} stands in the run's settings")
    if log.rate is not None:
        return _continued(log, total)
    return _usual(log, total, "nothing says the schedule")


def _usual(log: Log, total: float, why: str) -> Rates:
    made = {name: (share, _drawn(_named(name, log, total))) for name, share in USUAL.items()}
    return Rates(of=made, known=False, said=f"{why}: {', '.join(made)} are weighed")


def _one(schedule: Schedule, said: str) -> Rates:
    return Rates(of={"stated": (1.0, _drawn(schedule))}, known=True, said=said)


def _drawn(schedule: Schedule) -> Array:
    import numpy as np

    rates = np.array([schedule((i + 0.5) / PARTS) for i in range(PARTS)], float)
    if not rates.max() > 0:
        raise ForescaleError("a schedule to forecast with needs a rate above 0; got 0 all along: name another.")
    return rates


def _named(text: str, log: Log, total: float, warmup: float | None = None, final: float | None = None) -> Schedule:
    """A schedule by its text, with a warmup that the text does not state: that of the logged rates."""
    from forescale.schedules import by_name, options_of

    name, _, rest = text.partition(":")
    known = [key for key in options_of(name) if f"{key}=" not in rest]
    warm = warmup if warmup is not None else WARMUP if log.rate is None else _risen(log) / total
    given = {"warmup": min(warm, 0.5), "final": final}
    return by_name(text, **{key: value for key, value in given.items() if key in known})


def _risen(log: Log) -> float:
    """The first logged step at the highest rate so far."""
    import numpy as np

    assert log.rate is not None
    finite = np.isfinite(log.rate)
    rate, step = log.rate[finite], log.step[finite]
    return float(step[int(np.argmax(rate >= (1 - FLAT) * rate.max()))])


def _stated(log: Log, total: float) -> tuple[str, Schedule] | None:
    """The schedule that the settings name: ours, or that of a Hugging Face trainer."""
    import numpy as np

    from forescale.curves.watch import _hugging_face
    from forescale.runs._readers._source import number

    told: dict[str, Any] = {key.rsplit(".", 1)[-1]: value for key, value in log.settings.items()}
    warm = number(told.get("warmup_steps"))
    if log.settings.get("kind") == "forescale-train" and told.get("schedule"):
        text, final = str(told["schedule"]), number(told.get("final_lr_ratio"))
        return text, _named(text, log, total, warmup=(warm or 0) / total, final=final)
    peak = None if log.rate is None else float(np.nanmax(log.rate))
    return _hugging_face.stated(told, total, peak)


def _continued(log: Log, total: float) -> Rates:
    """The rates so far, and after them what they look like; while they still rise, the usual schedules."""
    import numpy as np

    assert log.rate is not None
    finite = np.isfinite(log.rate) & (log.rate >= 0)
    step, rate = log.step[finite], log.rate[finite]
    warm, peak = _risen(log), float(rate.max())
    if rate[0] < (1 - RISING) * peak and warm >= float(step[-1]):
        return _usual(log, total, "the rate is still rising")
    after = step >= warm
    at, height = (step[after] - warm) / max(total - warm, 1.0), rate[after] / peak
    middles = (np.arange(PARTS) + 0.5) / PARTS * total
    seen = np.interp(middles, np.append(0.0, step), np.append(0.0 if warm > step[0] else rate[0], rate)) / peak
    ways, said, known = ways_on(at, height, np.clip((middles - warm) / max(total - warm, 1.0), 0.0, 1.0))
    made = {name: (share, np.where(middles <= step[-1], seen, later)) for name, (share, later) in ways.items()}
    return Rates(of=made, known=known, said=said)
