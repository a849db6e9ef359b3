"""Numbers as people write them: `7B`, `1.4T`, `1e22`, `0.5M`, and times: `30d`, `12h`; read at the edge, printed at the edge."""

from __future__ import annotations

import math
import re
import reprlib
from numbers import Real

from forescale.errors import ForescaleError

SUFFIXES = {"": 0, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12, "P": 15}
_DIGITS = r"[0-9]+(?:_[0-9]+)*"  # as Python allows: an underscore stands between two digits
_NUMBER = re.compile(rf"([+-]?(?:{_DIGITS}\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,4}})?)\s*([A-Za-z]?)")
DURATIONS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}  # seconds, the longest first
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([wdhms])")


def parse_quantity(text: str | float, name: str) -> float:
    """Read `7B`, `1.4T`, `1e22` or a plain number as a positive finite float; raise `ForescaleError` naming `name`."""
    match = _NUMBER.fullmatch(str(text).strip())
    if match is None or match[2].upper() not in SUFFIXES:
        raise ForescaleError(
            f"{name} must be a number such as 7B, 1.4T or 1e22 (suffixes K, M, B, T); got {reprlib.repr(str(text))}."
        )
    # One decimal literal, so that 1.4T and 1.4e12 are the same float (1.4 * 1e12 need not be).
    mantissa, _, exponent = match[1].lower().partition("e")
    value = float(f"{mantissa}e{int(exponent or 0) + SUFFIXES[match[2].upper()]}")
    return positive(value, name)


def parse_duration(text: str | float, name: str) -> float:
    """Read `30d`, `12h`, `1d12h` or plain seconds as seconds above zero; raise `ForescaleError` naming `name`."""
    written = str(text).strip().lower()
    parts = _DURATION_PART.findall(written)
    units = [unit for _, unit in parts]
    longest_first = sorted(set(units), key=list(DURATIONS).index)
    try:
        if parts and "".join(map("".join, parts)) == written and units == longest_first:
            return positive(sum(float(number) * DURATIONS[unit] for number, unit in parts), name)
        if not written[-1:].isalpha():
            return parse_quantity(written, name)
    except ForescaleError:
        pass
    raise ForescaleError(
        f"{name} must be a time above zero such as 30d, 12h, 1d12h, 45m or 90s; got {reprlib.repr(str(text))}."
    )


def positive(value: float, name: str) -> float:
    """Return `value` if it is finite and above zero, else raise `ForescaleError` naming `name`."""
    number = as_float(value, name)
    if not (math.isfinite(number) and number > 0):
        raise ForescaleError(f"{name} must be finite and above zero; got {number:g}.")
    return value


def as_float(value: object, name: str) -> float:
    """Return a number of any kind as a float; raise `ForescaleError` naming `name` for a text, a bool or None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ForescaleError(f"{name} must be a number; got {reprlib.repr(value)}: a text is read by parse_quantity.")
    try:
        return float(value)
    except OverflowError:
        return math.inf  # refused wherever a count is checked, whatever its sign


def humanize(value: float, digits: int = 3) -> str:
    """Print a count the way people say it: 1.4e12 is `1.4T`; from 1e18 on, scientific notation."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    for suffix, power in (("P", 15), ("T", 12), ("B", 9), ("M", 6), ("K", 3), ("", 0)):
        # Half a unit in the last digit, so that 999,999 reads 1M and not 1e+03K.
        if magnitude * (1 + 0.5 * 10 ** (1 - digits) / 10) >= 10.0**power and magnitude < 1e18:
            return f"{float(f'{value / 10**power:.{digits}g}'):g}{suffix}"
    return f"{value:.{digits}g}"


def humanize_duration(seconds: float) -> str:
    """Print seconds the way people say them: 5400 is `1.5 h`, 3e6 is `34.7 d`."""
    year, day, hour, minute = 365.25 * 86400, DURATIONS["d"], DURATIONS["h"], DURATIONS["m"]
    for unit, size, least in (("y", year, 2 * year), ("d", day, 2 * day), ("h", hour, hour), ("min", minute, minute)):
        if seconds >= least:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
