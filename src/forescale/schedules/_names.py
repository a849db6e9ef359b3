"""Schedules by name, with options in the text: `wsd:decay=0.1`, for command lines and configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.schedules._check import Schedule
from forescale.schedules._decays import constant, cosine, inverse_sqrt, linear, tenth, wsd
from forescale.schedules._pieces import cyclic, points, step


def _wsd_sqrt(warmup: float = 0.1, decay: float = 0.2, final: float = 0.0) -> Schedule:
    return wsd(warmup, decay, "sqrt", final)


SCHEDULES: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {
        "linear": linear,
        "cosine": cosine,
        "wsd": wsd,
        "wsd-sqrt": _wsd_sqrt,
        "tenth": tenth,
        "step": step,
        "constant": constant,
        "inverse-sqrt": inverse_sqrt,
        "cyclic": cyclic,
        "points": points,
    }
)
"""Name -> function that makes the schedule."""

PAIRS = ("drops", "pairs")  # arguments that are written as progress=factor
WORDS = ("shape",)


def by_name(text: str, *, warmup: float | None = None, final: float | None = None) -> Schedule:
    """The schedule that a text names: NAME or NAME:option=value,...; the names are those of `SCHEDULES`.

    Options are the maker's arguments: `wsd:decay=0.1,shape=sqrt`, `cyclic:cycles=3`. Points and drops are written as
    progress=factor: `points:0=0,0.1=1,1=0`, `step:0.5=0.1`. `warmup` and `final` count where the text does not state
    its own; None leaves the maker's default. Raises `UnknownNameError` for another name, and `ForescaleError` for an
    option that the schedule does not have (`options_of`).
    """
    name, _, rest = text.partition(":")
    known = options_of(name)
    given: dict[str, Any] = {key: v for key, v in (("warmup", warmup), ("final", final)) if v is not None}
    stated = _read(name, rest, known) if rest else {}
    for key in (*given, *stated):
        if key not in known:
            raise ForescaleError(f"the schedule {name} has {_listed(known)}; got {key}: leave it out.")
    if "pairs" in known and "pairs" not in stated:
        raise ForescaleError(f"{name} needs progress=factor pairs; got {text!r}: write {name}:0=0,0.1=1,1=0.")
    return SCHEDULES[name](**given | stated)


def options_of(name: str) -> tuple[str, ...]:
    """The options of a schedule, such as warmup and final; `pairs` and `drops` are written progress=factor."""
    if name not in SCHEDULES:
        raise UnknownNameError(f"a schedule is one of {', '.join(SCHEDULES)}; got {name!r}.")
    return tuple(signature(SCHEDULES[name]).parameters)


def _listed(options: tuple[str, ...]) -> str:
    return ", ".join("progress=factor" if key in PAIRS else key for key in options)


def _read(name: str, text: str, known: tuple[str, ...]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    pairs: list[tuple[float, float]] = []
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or key in stated:
            raise ForescaleError(f"options of {name} are written option=value, each once; got {part!r} in {text!r}.")
        if (place := _number(key)) is not None:
            pairs.append((place, _need_number(value, part)))
        elif key in WORDS:
            stated[key] = value
        else:
            stated[key] = _need_number(value, part)
    if pairs:
        stated[next((key for key in PAIRS if key in known), "progress=factor")] = tuple(pairs)
    return stated


def _number(text: str) -> float | None:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return None


def _need_number(text: str, part: str) -> float:
    if (value := _number(text)) is None:
        raise ForescaleError(f"an option's value must be a number; got {part!r}.")
    return value
