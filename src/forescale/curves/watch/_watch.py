"""A look at a run: where it will end and what has happened so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.curves.watch._end import FIRST
from forescale.curves.watch._events import FALSE_ALARMS, Event, find_events
from forescale.curves.watch._log import FEWEST, Log, read_log
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forescale.curves.watch._rates import Rates

    Array = NDArray[np.float64]

OVER = 0.999  # of a run, from which on it has ended
REPEATED = 1.5  # passes over the data, from which on a run sees them repeatedly
SETTLED = 0.2  # of the steps, that have to lie behind a change for the forecast to rest on them alone
EARLY = 0.02  # of a run, up to which nothing is forecast


@dataclass(frozen=True, kw_only=True)
class EndLoss:
    """A loss at `step` in nats per token: the mean over the last 2 % up to there, with its 90 and 50 % intervals."""

    value: float  # median
    low: float
    high: float
    half_low: float
    half_high: float
    step: float
    said: str  # what the forecast rests on
    schedule_known: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """What a log shows: where it will end (None: it cannot be said, and a note says why) and its events."""

    log: Log
    final_loss: EndLoss | None
    final_val_loss: EndLoss | None
    events: tuple[Event, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON writes it (schema_version 1); sizes that are not finite are None."""
        return {
            "schema_version": 1,
            "run": self.log.name,
            "unit": self.log.unit,
            "step": float(self.log.step[-1]),
            "steps": self.log.total,
            "share": self.log.share,
            "loss": _finite(float(self.log.loss[-1])),
            "final_loss": None if self.final_loss is None else dict(vars(self.final_loss)),
            "final_val_loss": None if self.final_val_loss is None else dict(vars(self.final_val_loss)),
            "events": [{name: _finite(value) for name, value in vars(event).items()} for event in self.events],
            "notes": list(self.notes),
        }


def watch(
    log: Log | str | Path,
    *,
    steps: float | None = None,
    schedule: str | None = None,
    false_alarms: float = FALSE_ALARMS,
) -> Watched:
    """Where a run will end, with 50 and 90 % intervals, and what happened in it.

    `log` is a log or where it lies (`read_log`); `steps` the length of the whole run and `schedule` its learning rate
    schedule (the names of `forescale.schedules.by_name`) where the log says neither; `false_alarms` those of each of six
    statistics per 10,000 records. Raises `ForescaleError` for a log without losses. The laws and where their constants come
    from: `forescale.curves.watch._end` and prior.toml.
    """
    found = log if isinstance(log, Log) else read_log(log, steps=steps)
    if false_alarms <= 0:
        raise ForescaleError(f"false_alarms must be above 0 per 10,000 records; got {false_alarms:g}.")
    events = find_events(found, false_alarms=false_alarms)
    since = _since(events)
    end, said = _end(found, found.step, found.loss, schedule, since)
    held_out = None
    if len(found.val_step) >= FEWEST and found.total is not None and end is not None:
        held_out, _ = _end(found, found.val_step, found.val_loss, schedule, since)
    notes = (*found.notes, *([said] if said else []))
    return Watched(log=found, final_loss=end, final_val_loss=held_out, events=events, notes=notes)


def _since(events: Sequence[Event]) -> float:
    """The step from which the data are the same: that of the last change of level, or 0."""
    return max((event.step for event in events if event.kind == "data change"), default=0.0)


def _end(log: Log, step: Array, loss: Array, schedule: str | None, since: float) -> tuple[EndLoss | None, str]:
    """The end of a series of losses, and a note where it is none or not that of the whole run."""
    import numpy as np

    finite = np.isfinite(loss) & (loss > 0)
    if (count := int(finite.sum())) < FEWEST:
        return None, f"too early: the end is forecast from {FEWEST} finite losses; there are {count}: let it run on"
    if not finite[-1]:
        return None, "the run has diverged: its last loss is not finite, and where it would have ended is not said"
    at, values = step[finite], loss[finite]
    if log.total is None:
        note = "how long the run will be is not known, so the end is that of the log so far: give its steps"
        return _now(at, values, "the losses of the log's last 2 %"), note
    if float(log.step[-1]) >= OVER * log.total:
        return _now(at, values, "the run has ended: the mean of its last 2 %"), ""
    if float(log.step[-1]) < EARLY * log.total:
        return (
            None,
            f"too early: the end is forecast from {EARLY:.0%} of the run on, {log.unit} {EARLY * log.total:,.0f}",
        )
    return _forecast_since(log, at, values, schedule, since), ""


def _forecast_since(log: Log, at: Array, values: Array, schedule: str | None, since: float) -> EndLoss:
    """The end by the records since a change of level, where enough of the run lies behind it; else by all."""
    later, now = at >= since, float(log.step[-1])
    if since <= FIRST * now:
        return _forecast(log, at, values, schedule)  # those before are left out in any case
    enough = now - since >= SETTLED * now and later.sum() >= FEWEST
    end = _forecast(log, at[later], values[later], schedule) if enough else _forecast(log, at, values, schedule)
    why = "what came before it is left out" if enough else "too little has followed to leave out what came before"
    return replace(end, said=f"{end.said}; the level changed at {log.unit} {since:,.0f}, {why}")


def _forecast(log: Log, step: Array, loss: Array, schedule: str | None) -> EndLoss:
    import numpy as np

    from forescale.curves.watch._end import forecast
    from forescale.curves.watch._prior import read_prior, read_widths
    from forescale.curves.watch._rates import rates_of

    assert log.total is not None
    rates: Rates = rates_of(log, log.total, schedule)
    repeated = log.epochs is not None and log.epochs >= REPEATED
    mixture = forecast(step, loss, log.total, rates.of, read_prior(repeated=repeated))
    widths, share = read_widths(known=rates.known, repeated=repeated), float(step[-1]) / log.total
    half, ninety = (float(np.interp(share, widths.share, row)) for row in (widths.half, widths.ninety))
    value = max(mixture.quantile(0.5), 0.0)
    low, high = max(mixture.quantile(0.05, ninety), 0.0), mixture.quantile(0.95, ninety)
    seen = f"; the data are seen {_times(log.epochs)} times, so much is open" if repeated else ""
    return EndLoss(
        value=value,
        low=min(low, value),
        high=max(high, value),
        half_low=min(max(mixture.quantile(0.25, half), low), value),
        half_high=max(min(mixture.quantile(0.75, half), high), value),
        step=log.total,
        said=rates.said + seen,
        schedule_known=rates.known,
    )


def _times(count: float | None) -> str:
    return f"{count:,.0f}" if count is not None and count >= 10 else f"{count:.2g}"


def _now(step: Array, loss: Array, said: str) -> EndLoss:
    """The mean of the last 2 % of the steps, with the interval that the noise of a record gives it."""
    from forescale.curves.watch._end import LAST, noise_of

    last = loss[step > (1 - LAST) * step[-1]]
    value, error = float(last.mean()), noise_of(loss) / math.sqrt(len(last))
    ends = {"low": value - 1.645 * error, "high": value + 1.645 * error}
    halves = {"half_low": value - 0.674 * error, "half_high": value + 0.674 * error}
    return EndLoss(value=value, **ends, **halves, step=float(step[-1]), said=said, schedule_known=True)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def forecasts_along(log: Log, *, schedule: str | None = None, count: int = 12) -> Mapping[float, EndLoss]:
    """What would have been forecast at so many steps of a log whose length is known: step -> end."""
    import numpy as np

    if log.total is None:
        return {}
    finite = np.isfinite(log.loss) & (log.loss > 0)
    at, loss = log.step[finite], log.loss[finite]
    made: dict[float, EndLoss] = {}
    for share in np.linspace(0.1, min(float(at[-1]) / log.total, 0.95), count):
        seen = at <= share * log.total
        if seen.sum() >= FEWEST:
            made[float(at[seen][-1])] = _forecast(_until(log, float(at[seen][-1])), at[seen], loss[seen], schedule)
    return made


def _until(log: Log, step: float) -> Log:
    """The log as it was at a step."""
    seen = log.step <= step
    parts = {name: None if (row := getattr(log, name)) is None else row[seen] for name in ("norm", "rate")}
    return replace(log, step=log.step[seen], loss=log.loss[seen], **parts)
