"""Typed reading of a law file's tables: every error names the file and the key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError

Table = Mapping[str, Any]


class Reader:
    """Reads values out of the tables of one file and refuses what has no meaning there."""

    kind = "law"

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, message: str) -> ForescaleError:
        """The error that says `message` about this file."""
        return ForescaleError(f"{self.kind} file {self.path}: {message}.")

    def known(self, table: Table, keys: frozenset[str], where: str) -> None:
        """Refuse keys that nothing reads."""
        if unknown := sorted(set(table) - keys):
            raise self.error(f"{where} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(keys))}")

    def table(self, parent: Table, key: str, default: Table | None = None) -> Table:
        """The table under `key`."""
        value: Any = parent.get(key, default)
        if not isinstance(value, Mapping):
            raise self.error(f"a table [{key}] is required" if value is None else f"{key} must be a table")
        return cast(Table, value)

    def number(self, value: Any, where: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`; `low` 0 means above 0."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
            raise self.error(f"{where} must be a finite number; got {value!r}")
        if not low <= value <= high or value == low == 0:
            span = "above 0" if (low, high) == (0, math.inf) else f"from {low:g} to {high:g}"
            raise self.error(f"{where} must be {span}; got {value!r}")
        return float(value)

    def numbers(
        self, table: Table, key: str, where: str, low: float = -math.inf, high: float = math.inf
    ) -> dict[str, float]:
        """The table of numbers under `key`."""
        values = self.table(table, key, {})
        return {name: self.number(value, f"{where}.{key}.{name}", low, high) for name, value in values.items()}

    def list_of(self, table: Table, key: str, where: str) -> list[Any]:
        """The list under `key`; empty where there is none."""
        value: Any = table.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"{where} needs {key!r} as a list in brackets; got {value!r}")
        return cast("list[Any]", value)

    def texts(self, table: Table, key: str, where: str) -> tuple[str, ...]:
        """The list of texts under `key`."""
        values = self.list_of(table, key, where)
        if not all(isinstance(v, str) for v in values):
            raise self.error(f"{where} needs {key!r} as a list of texts; got {values!r}")
        return tuple(values)

    def text(self, table: Table, key: str, where: str = "the law") -> str:
        """The text under `key`, not empty."""
        value: Any = table.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(f"{where} needs {key!r}, a text")
        return value

    def choice(
        self, table: Table, key: str, options: Sequence[str], default: str | None, where: str = "the law"
    ) -> str:
        """One of `options`."""
        value: Any = table.get(key, default)
        if value not in options:
            raise self.error(f"{where} needs {key!r}, one of {', '.join(options)}; got {value!r}")
        return str(value)

    def interval(self, axis: str, pair: Any) -> tuple[float, float]:
        """Two finite numbers, the lower one first."""
        values = cast("list[Any]", pair) if isinstance(pair, list) else []
        if len(values) != 2:
            raise self.error(f"the interval of {axis} must be [low, high] with low <= high; got {pair!r}")
        low, high = (self.number(value, f"the interval of {axis}") for value in values)
        if low > high:
            raise self.error(f"the interval of {axis} must be [low, high] with low <= high; got {pair!r}")
        return low, high


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def is_covariance(matrix: Sequence[Sequence[float]]) -> bool:
    """Whether a matrix is symmetric and has no negative variance in any direction, by Cholesky's factors."""
    size = range(len(matrix))
    scale = [math.sqrt(abs(matrix[i][i])) or 1.0 for i in size]
    # As correlations, so that one tolerance serves constants of every size; it leaves room for printed digits.
    a = [[matrix[i][j] / scale[i] / scale[j] for j in size] for i in size]
    if any(abs(a[i][j] - a[j][i]) > 1e-6 for i in size for j in size):
        return False
    factors = [[0.0 for _ in size] for _ in size]
    for i in size:
        for j in range(i + 1):
            rest = a[i][j] - sum(x * y for x, y in zip(factors[i][:j], factors[j][:j], strict=True))
            if i == j and rest < -1e-6:
                return False
            if i == j:
                factors[i][i] = math.sqrt(max(rest, 0.0))
            elif factors[j][j] > 1e-6:
                factors[i][j] = rest / factors[j][j]
            elif abs(rest) > 1e-3:
                return False
    return True
