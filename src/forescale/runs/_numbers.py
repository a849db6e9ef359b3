"""Text to numbers, strictly: what is not a number is an error that names the column, the row and the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    import polars

ROW = "row"  # what messages call the run: its row in the file, the header being row 1, or its name in a store
MAY_BE_ZERO = frozenset({"weight_decay", "sparsity"})
COUNTS = frozenset(
    {"params", "active_params", "nonzero_params", "tokens", "unique_tokens", "batch_tokens"}
)  # may be written 7B, 1.4T
# Below this a count of parameters or tokens is in millions or billions, not in ones.
LEAST = {"params": 1e3, "active_params": 1e3, "tokens": 1e4}
# Beyond these no run was ever meant: a number outside is a slip of units, and its logarithm would rule every surface.
BOUNDS = {
    "params": (1e3, 1e15),
    "active_params": (1e3, 1e15),
    "tokens": (1e4, 1e18),
    "learning_rate": (1e-12, 1e3),
    "batch_tokens": (1, 1e12),
    "batch_sequences": (1, 1e12),
    "seq_len": (1, 2**24),
    "steps": (1, 1e12),
    "loss": (1e-9, float("inf")),
}
DIVERGED_LOSS = 1e6  # nats per token: from here on a loss says only that the run diverged


def numbers(
    table: polars.DataFrame, column: str, name: str, *, nan: float | None = None, strict: bool = True
) -> polars.Series:
    """A column of `table` as floats named `name`: empty cells are nulls, NaN is `nan` (None: null, too).

    `ForescaleError` for text that is no number; where not `strict`, it is null.
    """
    import polars as pl

    raw = table[column]
    if raw.dtype.is_numeric():
        return raw.cast(pl.Float64).fill_nan(nan).alias(name)
    if raw.dtype == pl.Null:
        return raw.cast(pl.Float64).alias(name)
    if raw.dtype != pl.String:
        raise ForescaleError(f"{_called(column, name)} must hold numbers; it holds {raw.dtype}: choose another.")
    text = raw.str.strip_chars()
    text = text.set(text.str.to_lowercase() == "nan", "NaN")
    values = text.cast(pl.Float64, strict=False)
    bad = (values.is_null() & text.is_not_null() & (text != "")).arg_true()
    for i in bad.to_list() if strict else ():
        values[i] = _quantity(text[i], name, _called(column, name), table[ROW][i])
    return values.fill_nan(nan).alias(name)


def _quantity(text: str, name: str, where: str, row: str) -> float:
    if name in COUNTS:
        try:
            return parse_quantity(text, name)
        except ForescaleError:
            pass
    raise ForescaleError(f"{where} must hold numbers; {row} has {text!r}: correct it or remove the run.")


def check_values(frame: polars.DataFrame, name: str, column: str, *, optional: bool = False) -> None:
    """Raise `ForescaleError` naming the first row where `name` is empty, infinite, not positive or in another unit."""
    values = frame[name]
    if not optional and values.null_count():
        row = frame[ROW][int(values.is_null().arg_true()[0])]
        raise ForescaleError(f"{_called(column, name)} is empty in {row}: fill it in or remove the run.")
    positive = values >= 0 if name in MAY_BE_ZERO else values > 0
    finite = values.is_finite() if name != "loss" else values.is_not_nan()
    _reject(frame, (~(positive & finite)).fill_null(False), name, f"{_called(column, name)} must hold positive numbers")
    if name in LEAST:
        bad = (values < LEAST[name]).fill_null(False)
        _reject(frame, bad, name, f"{_called(column, name)} must count in ones, not in millions or billions")
    if name in BOUNDS:
        low, high = BOUNDS[name]
        span = f"at least {low:g}" if name == "loss" else f"between {low:g} and {high:g}"
        bad = ((values < low) | (values > high)).fill_null(False)
        _reject(frame, bad, name, f"{_called(column, name)} must be {span}")


def _called(column: str, name: str) -> str:
    return f"column {column!r}" if column == name else f"column {column!r} ({name})"


def _reject(frame: polars.DataFrame, bad: polars.Series, name: str, rule: str) -> None:
    if bad.any():
        i = int(bad.arg_true()[0])
        raise ForescaleError(f"{rule}; {frame[ROW][i]} has {frame[name][i]:g}: correct it or remove the run.")
