"""The learning rates of a whole run: as its settings state them, or what goes on from those that it logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forescale.curves.watch._end import PARTS
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves.watch._log import Log
    from forescale.schedules import Schedule

    Array = NDArray[np.float64]

# Of a run whose schedule nothing says: each usual one with its share of belief. The shares are a choice, not measured.
USUAL = {"linear": 0.25, "cosine:final=0.1": 0.2, "cosine:final=0": 0.15, "wsd": 0.3, "constant": 0.1}
# What may follow a rate that has stayed at its peak: nothing, or a decay over the last tenth, fifth or two fifths.
AFTER_FLAT = {"constant": 0.35, "wsd:decay=0.1": 0.2, "wsd:decay=0.2": 0.3, "wsd:decay=0.4": 0.15}
WARMUP = 0.02  # of a run, where nothing says it
FLAT, ALIKE = 0.005, 0.01  # of the peak: what counts as no change, and as the same schedule
HUGGING_FACE = {
    "linear": "linear:final=0",
    "cosine": "cosine:final=0",
    "constant": "constant",
    "constant_with_warmup": "constant",
}


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
    made = {name: (share, _drawn(_named(name, log, total))) for name, share in USUAL.items()}
    return Rates(of=made, known=False, said=f"nothing says the schedule: {', '.join(made)} are weighed")


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
    from forescale.runs._readers._source import number

    told: dict[str, Any] = {key.rsplit(".", 1)[-1]: value for key, value in log.settings.items()}
    warm = number(told.get("warmup_steps"))
    if log.settings.get("kind") == "forescale-train" and told.get("schedule"):
        text, final = str(told["schedule"]), number(told.get("final_lr_ratio"))
        return text, _named(text, log, total, warmup=(warm or 0) / total, final=final)
    kind = str(told.get("lr_scheduler_type", "")).lower().rsplit(".", 1)[-1]
    if kind in HUGGING_FACE:
        share = number(told.get("warmup_ratio")) or 0.0
        return kind, _named(HUGGING_FACE[kind], log, total, warmup=warm / total if warm else share)
    return None


def _continued(log: Log, total: float) -> Rates:
    """The rates so far, and after them what they look like: a line, a cosine, or a peak that has not been left yet."""
    import numpy as np

    assert log.rate is not None
    finite = np.isfinite(log.rate) & (log.rate >= 0)
    step, rate = log.step[finite], log.rate[finite]
    warm = _risen(log)
    peak = float(rate.max())
    after = step >= warm
    at, height = (step[after] - warm) / max(total - warm, 1.0), rate[after] / peak
    middles = (np.arange(PARTS) + 0.5) / PARTS * total
    seen = np.interp(middles, np.append(0.0, step), np.append(0.0 if warm > step[0] else rate[0], rate)) / peak
    future = np.clip((middles - warm) / max(total - warm, 1.0), 0.0, 1.0)
    options, said, known = _guesses(at, height, future)
    made = {name: (share, np.where(middles <= step[-1], seen, later)) for name, (share, later) in options.items()}
    return Rates(of=made, known=known, said=said)


def _guesses(at: Array, height: Array, future: Array) -> tuple[dict[str, tuple[float, Array]], str, bool]:
    """Schedules of the time after the warmup that fit the rates so far: name -> share and heights at `future`."""
    import numpy as np

    if float(at[-1]) >= 0.999:
        return {"logged": (1.0, np.full(len(future), height[-1]))}, "the learning rates were logged", True
    if float(height.min()) > 1 - FLAT:
        from forescale.schedules import by_name

        made = {name: by_name(name, warmup=0.0) for name in AFTER_FLAT}
        flat = {name: (AFTER_FLAT[name], np.array([go(float(x)) for x in future])) for name, go in made.items()}
        return flat, f"the rate has not left its peak: {', '.join(flat)} are weighed", False
    fits: dict[str, tuple[float, Array]] = {}
    for name, (shape, later) in _shapes(at, height, future).items():
        final = float(np.clip((shape @ (height - (1 - shape))) / max(shape @ shape, 1e-12), 0.0, 1.0))
        if float(np.abs(1 - (1 - final) * shape - height).max()) < ALIKE:
            fits[f"{name} to {final:.2g}" if final > 1e-3 else f"{name} to zero"] = (1.0, 1 - (1 - final) * later)
    if fits:
        share = {name: (1 / len(fits), np.maximum(later, 0.0)) for name, (_, later) in fits.items()}
        return share, f"the rates so far are those of {' or '.join(fits)}", len(fits) == 1
    slope = max((float(height[-max(len(height) // 10, 2)]) - float(height[-1])), 0.0) / max(
        float(at[-1] - at[-max(len(at) // 10, 2)]), 1e-9
    )
    gone = future - float(at[-1])
    goes_on = np.maximum(height[-1] - slope * gone, 0.0)
    to_zero = height[-1] * np.clip(1 - gone / max(1 - float(at[-1]), 1e-9), 0.0, 1.0)
    held = np.full(len(future), height[-1])
    return (
        {"as of late": (0.4, goes_on), "line to zero": (0.4, to_zero), "as it is": (0.2, held)},
        "the rates so far are those of no usual schedule: going on as of late, to zero and staying are weighed",
        False,
    )


def _shapes(at: Array, height: Array, future: Array) -> dict[str, tuple[Array, Array]]:
    """Shares of the way down, now and later: of a line, a cosine, and lines and roots that began where the peak was left."""
    import numpy as np

    left = float(at[max(int(np.argmax(height < 1 - FLAT)) - 1, 0)])
    made = {
        "a line": (at, future),
        "a cosine": ((1 - np.cos(math.pi * at)) / 2, (1 - np.cos(math.pi * future)) / 2),
    }
    if left > 0.02 and left < 1:
        parts = [np.clip((x - left) / (1 - left), 0.0, 1.0) for x in (at, future)]
        made["a line from the peak's end"] = (parts[0], parts[1])
        made["a root from the peak's end"] = (np.sqrt(parts[0]), np.sqrt(parts[1]))
    return made
