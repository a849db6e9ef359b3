"""Which running runs to end: those that will not be the best, and those that have diverged without saying so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from forescale.errors import ForescaleError
from forescale.sweep._run import DIVERGED
from forescale.sweep.race._curve import Curve
from forescale.sweep.race._forecast import FIRST, Forecast, forecast

WINDOW = 0.1  # share of the run for which a loss must have been lost
MOST = 0.5  # of what the run had learnt since its first step
BEGINNING = 0.02  # share of the run whose losses say where it began


@dataclass(frozen=True, kw_only=True)
class Race:
    """When a run may be ended. Raises `ForescaleError` for a value outside its range."""

    confidence: float = 0.975  # that it will not be the best
    margin: float = (
        0.0  # loss gap; above 0 runs that will end within it of the best are kept, for they teach where the optimum is
    )
    least: float = 0.25  # share of a run that is made in any case
    finished: int = 2  # runs of the cell that have to finish first
    references: int = 24  # finished runs that a forecast compares with at most, the best

    def __post_init__(self) -> None:
        for name, low, high in (("confidence", 0.5, 1.0), ("margin", -1.0, math.inf)):
            if not low < getattr(self, name) < high:
                raise ForescaleError(
                    f"{name} must be between {low:g} and {high:g}; got {getattr(self, name):g}: correct it."
                )
        if not FIRST < self.least <= 1:
            raise ForescaleError(f"least must be above {FIRST:g} and at most 1; got {self.least:g}: correct it.")
        for name in ("finished", "references"):
            if getattr(self, name) < 1:
                raise ForescaleError(f"{name} must be 1 or more; got {getattr(self, name)}: correct it.")


def decide(curves: Sequence[Curve], race: Race | None = None) -> dict[str, str]:
    """Which running runs of one cell to end, by key, and why, in a sentence.

    The reason of a run that has diverged begins with `DIVERGED`.
    """
    race = race or Race()
    ended = {c.key: f"{DIVERGED}{why}" for c in curves if c.end is None and (why := diverged(c))}
    finished = finishers(curves, race)
    running = [c for c in curves if c.end is None and c.key not in ended and c.share >= race.least]
    if len(finished) < race.finished or not running:
        return ended
    return ended | _dominated(forecast([*finished, *running]), [c.key for c in running], race)


def finishers(curves: Sequence[Curve], race: Race) -> list[Curve]:
    """The finished runs that a forecast compares with: the best of them."""
    ends = {c.key: c.end for c in curves if c.end is not None and math.isfinite(c.end)}
    return sorted((c for c in curves if c.key in ends), key=lambda c: ends[c.key])[: race.references]


def _dominated(ahead: Forecast, running: Sequence[str], race: Race) -> dict[str, str]:
    """Each is held against the run with the best forecast, which may itself be running."""
    best = ahead.keys[int(ahead.log_loss.argmin())]
    chances = {key: ahead.chance(key, best, race.margin) for key in running if key != best}
    return {
        key: _why(ahead, key, best, chance, race) for key, chance in chances.items() if chance < 1 - race.confidence
    }


def _why(ahead: Forecast, key: str, best: str, chance: float, race: Race) -> str:
    end, top = ahead.end(key), ahead.end(best)
    above = f" and {race.margin:.2%} more" if race.margin else ""
    return (
        f"dominated: it would end at {end.loss:.4g} ({end.low:.4g} to {end.high:.4g}), below the {top.loss:.4g} of "
        f"{best}{above} with a chance of {chance:.1%}"
    )


def diverged(curve: Curve) -> str:
    """Why a run counts as diverged though its losses are finite; empty where it does not.

    For a tenth of the run every loss, averaged, has been above what it began with, or it has lost half of what it had
    learnt: no reading of the schedule brings that back.
    """
    import numpy as np

    finite = np.isfinite(curve.loss)
    share, loss = curve.progress[finite], curve.loss[finite]
    late = share > max(curve.share - WINDOW, BEGINNING)
    if curve.share < BEGINNING + WINDOW or late.sum() < 10:
        return ""
    began = float(np.median(loss[share <= max(BEGINNING, float(share[0]))]))
    parts = [float(np.median(part)) for part in np.array_split(loss[late], 5)]
    lowest = min(float(np.median(part)) for part in np.array_split(loss[~late], max(int((~late).sum()) // 10, 1)))
    if min(parts) >= began:
        return f"its loss, {parts[-1]:.4g}, has been above the {began:.4g} that it began with for a tenth of the run"
    if min(parts) > lowest + MOST * (began - lowest):
        return f"its loss was {lowest:.4g} and has been above {min(parts):.4g} for a tenth of the run"
    return ""
