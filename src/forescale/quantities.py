"""Numbers as people write them: `7B`, `1.4T`, `1e22`, `0.5M`; read at the edge, printed at the edge."""

from __future__ import annotations

import math
import re

from forescale.errors import ForescaleError

SUFFIXES = {"": 0, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12, "P": 15}
_NUMBER = re.compile(r"^([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]?)$")


def parse_quantity(text: str | float, name: str) -> float:
    """Read `7B`, `1.4T`, `1e22` or a plain number as a positive finite float; raise `ForescaleError` naming `name`."""
    match = _NUMBER.match(str(text).strip())
    if match is None or match[2].upper() not in SUFFIXES:
        raise ForescaleError(
            f"{name} must be a number such as 7B, 1.4T or 1e22 (suffixes K, M, B, T); got {str(text)!r}."
        )
    # One decimal literal, so that 1.4T and 1.4e12 are the same float (1.4 * 1e12 need not be).
    mantissa, _, exponent = match[1].lower().partition("e")
    value = float(f"{mantissa}e{int(exponent or 0) + SUFFIXES[match[2].upper()]}")
    return positive(value, name)


def positive(value: float, name: str) -> float:
    """Return `value` if it is finite and above zero, else raise `ForescaleError` naming `name`."""
    if not (math.isfinite(value) and value > 0):
        raise ForescaleError(f"{name} must be finite and above zero; got {value:g}.")
    return value


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
