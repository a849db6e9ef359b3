"""The options of a forecaster, and the network and windows that they come to for series of a certain step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, cast

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.forecast._series import Step
    from forescale.forecast._windows import Layout

LEAST_CONTEXT = 24
SEASONS = 7  # that a window looks back at
MOST_SPAN = 2048
PATHS = 500  # that quantiles are taken over


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a C2FAR forecaster is made of; None: chosen by the step of the series."""

    horizon: int = 24  # steps that it is trained to forecast; others may be asked for
    context: int | None = None  # steps the network is run over before the horizon; default: one season, at least 24
    span: int | None = None  # values before the horizon that the window is normalised by; default: seven seasons
    scaling: Literal["min-max", "standard"] = "min-max"
    bins: tuple[int, ...] = (20, 20, 20)  # of each level; one level is flat binning
    low: float = -0.1  # ends of the grid, in units of the normalised series
    high: float = 1.3
    tails: bool = True  # Pareto laws beyond the grid; else nothing lies there
    network: Literal["shared", "separate"] = "shared"  # one with a head a level, or an LSTM a level, as published
    backbone: Literal["lstm", "transformer"] = "lstm"  # of a shared network
    law: Literal["levels", "normal", "student-t"] = "levels"  # of a shared network's values; the others for comparison
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0
    season: int | None = None  # steps; default: a day, a week or a year
    lags: tuple[int, ...] | None = None  # values so many steps before each one as inputs; default: by the season
    calendar: bool = True  # hour, weekday, time of year, where they mean something
    integers: bool = True  # round paths of a series that has only whole numbers
    nonnegative: bool = True  # clip paths of a series that was never negative at 0

    def __post_init__(self) -> None:
        for name in ("horizon", "hidden", "layers", "context", "span", "season"):
            if name in ("horizon", "hidden", "layers") or getattr(self, name) is not None:
                whole(getattr(self, name), name)
        for name in ("bins", "lags"):
            _whole_numbers(getattr(self, name), name)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ForescaleError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        if self.network == "separate" and self.law != "levels":
            raise ForescaleError(f"separate networks hold a law of levels; got {self.law}: take network='shared'.")
        if self.network == "separate" and self.backbone != "lstm":
            raise ForescaleError(f"separate networks are LSTMs; got backbone {self.backbone!r}: take network='shared'.")
        if not 0 <= self.dropout < 1:
            raise ForescaleError(f"dropout is a share from 0 to below 1; got {self.dropout}.")


def whole(number: Any, name: str) -> int:
    """The number, where it is a whole one from 1 on; else `ForescaleError`."""
    if isinstance(number, bool) or not isinstance(number, Integral) or int(number) < 1:
        raise ForescaleError(f"{name} must be a whole number from 1 on; got {number!r}.")
    return int(number)


def _whole_numbers(numbers: Any, name: str) -> None:
    if numbers is not None and not isinstance(numbers, (tuple, list)):
        raise ForescaleError(f"{name} must be a list of whole numbers; got {numbers!r}: write {name}=({numbers},).")
    for number in cast("Sequence[Any]", numbers or ()):
        whole(number, f"each of {name}")


CHOICES = {
    "scaling": ("min-max", "standard"),
    "network": ("shared", "separate"),
    "backbone": ("lstm", "transformer"),
    "law": ("levels", "normal", "student-t"),
}


def layout_for(options: Options, step: Step, lengths: Sequence[int]) -> Layout:
    """Windows for series of a step; the look back is at most half the longest series."""
    from forescale.forecast._windows import Layout

    season = options.season or step.season
    longest = max(max(lengths) // 2, 2)
    span = options.span or min(max(SEASONS * season, 2 * options.horizon), longest, MOST_SPAN)
    lags = _lags(season, span) if options.lags is None else tuple(sorted(options.lags))
    least = max(LEAST_CONTEXT, min(season, 2 * LEAST_CONTEXT)) if lags else span
    return Layout(
        horizon=options.horizon,
        context=options.context or min(least, longest),
        span=span,
        scaling=options.scaling,
        lags=lags,
        copied=tuple(lag for lag in (season, SEASONS * season) if lag in lags) if options.law == "levels" else (),
        calendar=step.calendar if options.calendar else 0,
        static=True,
    )


def _lags(season: int, span: int) -> tuple[int, ...]:
    """Each season before, and the neighbours of the first and the seventh."""
    if season == 1:
        return ()
    whole = {k * season for k in range(1, SEASONS + 1)}
    near = {season - 1, season + 1, SEASONS * season - 1, SEASONS * season + 1} if season > 2 else set[int]()
    return tuple(sorted(lag for lag in whole | near if lag <= span + 1))


def build_network(options: Options, extra: int, nudge: float = 0.0) -> Any:
    """A network with fresh weights, for so many inputs beside the previous value."""
    from forescale.forecast._density import Density
    from forescale.forecast._grid import Grid
    from forescale.forecast._laws import LocationScaleHead
    from forescale.forecast._networks import SeparateNetwork
    from forescale.forecast._shared import LevelsHead, LSTMNetwork, TransformerNetwork

    grid = Grid(bins=options.bins, low=options.low, high=options.high)
    density = Density(grid=grid, tails=options.tails, nudge=nudge)
    sizes: dict[str, Any] = {
        "hidden": options.hidden, "layers": options.layers, "extra": extra, "dropout": options.dropout,
    }  # fmt: skip
    if options.network == "separate":
        return SeparateNetwork(density, **sizes)
    shared = LSTMNetwork if options.backbone == "lstm" else TransformerNetwork
    if options.law == "levels":
        return shared(density, lambda width: LevelsHead(density, width, options.hidden), **sizes)
    student = options.law == "student-t"
    return shared(
        density,
        lambda width: LocationScaleHead(grid, width, options.hidden, student=student),
        hot=False,
        **sizes,
    )
