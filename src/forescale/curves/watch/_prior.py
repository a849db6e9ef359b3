"""The constants of forecasts and alarms, measured on real curves: `prior.toml` says on which and how."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of run: its share of belief, and its amplitudes as shares of the loss last seen."""

    share: float
    mean: tuple[float, ...]  # of L0, of A S^-alpha at the last step seen, and of B at the peak rate
    spread: tuple[float, ...]  # their standard deviations


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is believed of a run's curve before it is seen; drifts are shares of the loss last seen."""

    kinds: tuple[Kind, ...]
    alpha: tuple[float, ...]
    gamma: tuple[float, ...]
    memory: tuple[float, ...]  # steps
    drift: float  # standard deviation of what laws do not hold, where the loss stands still
    moving: float  # what is added to it (in squares): this, times the fall of ln(loss) per ln(step) to the power `bend`
    bend: float
    noisy: float  # and this, times the noise of a record over the loss
    span: float  # of ln(step), over which it forgets itself
    rough: float  # the same, of each part of the curve for itself


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Factors on the half-widths of the mixture's 50 and 90 % intervals, at shares of a run that was seen."""

    share: tuple[float, ...]
    half: tuple[float, ...]
    ninety: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Tail:
    """A statistic above `floor` on clean logs: excursions a record, and the mean of what they exceed it by."""

    floor: float
    rate: float
    excess: float


@cache
def read_prior(*, repeated: bool = False) -> Prior:
    """The prior of forecasts; of a run that sees its data repeatedly, another one."""
    table = _table()
    kinds = tuple(Kind(**_tuples(kind)) for kind in table["kinds"])
    prior = Prior(kinds=kinds, **_tuples(table["forecast"]))
    if not repeated:
        return prior
    told = table["repeated"]
    kind = Kind(**_tuples(told["kind"]))
    others = tuple(replace(each, share=each.share * (1 - kind.share)) for each in kinds)
    return replace(prior, kinds=(*others, kind), alpha=tuple(told["alpha"]), drift=told["drift"], moving=told["moving"])


@cache
def read_widths(*, known: bool, repeated: bool = False) -> Widths:
    """The factors where the schedule is known, and where it is not."""
    widths = Widths(**_tuples(_table()["widths"]["known" if known else "unknown"]))
    if not repeated:
        return widths
    half, ninety = _table()["repeated"]["half"], _table()["repeated"]["ninety"]
    return replace(
        widths, half=tuple(max(half, f) for f in widths.half), ninety=tuple(max(ninety, f) for f in widths.ninety)
    )


@cache
def read_tails() -> Mapping[str, Tail]:
    """The tail of each statistic, by name."""
    return {name: Tail(**values) for name, values in _table()["tails"].items()}


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}  # pyright: ignore


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("forescale.curves.watch") / "prior.toml").read_text("utf-8"))
