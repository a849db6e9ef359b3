"""Columns that follow from others: the global batch from its factors, parameters from a model's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.runs._columns import Found, readings

if TYPE_CHECKING:
    import polars

# The factors of a global batch, as trainers call them.
MICRO = (
    *("per_device_train_batch_size", "micro_batch_size", "device_batch_size", "train_micro_batch_size_per_gpu"),
    *("per_gpu_train_batch_size", "batch_size_per_device", "batch_size_per_gpu", "local_batch_size"),
)
ACCUMULATION = (
    *("gradient_accumulation_steps", "grad_accum_steps", "accumulate_grad_batches", "gradient_accumulation"),
    *("accumulation_steps", "grad_acc_steps", "gradient_accumulation_iters"),
)
DEVICES = (
    *("world_size", "data_parallel_size", "dp_size", "num_gpus", "n_gpus", "n_gpu", "num_devices", "num_processes"),
    *("ddp_world_size", "ngpus", "gpus"),
)
# A batch by these names may be that of one process and one accumulation step; by any other it is the whole batch.
LOCAL = frozenset({"batch_size", "train_batch_size", "bs", "batchsize"})
MADE = "derived."  # before the name of a column that the source does not have
DERIVED = {"params": f"{MADE}non_vocab_params", "active_params": f"{MADE}active_params"}
BATCH = f"{MADE}batch_sequences"


def add_batch_factors(
    table: polars.DataFrame, found: Found
) -> tuple[polars.DataFrame, dict[str, str], tuple[str, ...]]:
    """Add batch in sequences where only its factors are recorded; the new column by our name, and what was multiplied.

    Micro-batch × gradient accumulation × devices; what is not recorded counts as one, and the note says so.
    """
    import polars as pl

    named = _by_plain_name(table.columns)
    base = _first(named, MICRO)
    whole = found.columns.get("batch_sequences")
    accumulation, devices = _first(named, ACCUMULATION), _first(named, DEVICES)
    if "batch_tokens" in found.columns or (whole and not _is_local(whole)):
        return table, {}, ()
    if base is None and not (whole and accumulation):
        return table, {}, ()
    factors = [column for column in (base or whole, accumulation, devices if base else None) if column]
    product = pl.lit(1.0)
    for column in factors:
        product = product * pl.col(column).cast(pl.Float64, strict=False)
    values = table.select(product.alias(BATCH))[BATCH]
    if whole and (table[whole].cast(pl.Float64, strict=False) == values).all():
        return table, {}, ()
    assumed = [what for what, column in (("accumulation", accumulation), ("devices", devices)) if column is None]
    note = f"the batch in sequences is {' × '.join(factors)}" + (
        f", with one for what is not recorded ({' and '.join(assumed)})" if assumed else ""
    )
    note += "; --columns batch_sequences=COLUMN or --set batch_sequences=VALUE says otherwise"
    return table.with_columns(values), {"batch_sequences": BATCH}, (note,)


def _by_plain_name(header: Sequence[str]) -> dict[str, str]:
    return {plain: column for column in reversed(header) for plain, _ in readings(column)}


def _first(named: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((named[name] for name in names if name in named), None)


def _is_local(column: str) -> bool:
    return any(plain in LOCAL for plain, _ in readings(column))


def add_model_params(table: polars.DataFrame, found: Found) -> tuple[polars.DataFrame, dict[str, str], tuple[str, ...]]:
    """Add non-vocabulary parameters counted from a Hugging Face model's configuration, where runs recorded one.

    Nothing is added where a column holds them already, or no `model_type` that is known.
    """
    import polars as pl

    column = next((c for c in table.columns if any(p == "model_type" for p, _ in readings(c))), None)
    if column is None or ("params" in found.columns and not found.vague_params()):
        return table, {}, ()
    prefix = column[: len(column) - len("model_type")]
    keys = {
        c: c.removeprefix(prefix)
        for c, kind in table.schema.items()
        if c.startswith(prefix) and c not in found.columns.values() and not kind.is_nested()
    }
    counts, reasons = _count_all(table.select(list(keys)), keys)
    if not any(counts):
        return table, {}, tuple(f"parameters are not counted from {column!r}: {reason}" for reason in reasons)
    made = [pl.Series(DERIVED[name], [None if c is None else c[i] for c in counts]) for i, name in enumerate(DERIVED)]
    note = "params is counted from the model's configuration, without embeddings and head"
    return table.with_columns(made), dict(DERIVED), (note,)


def _count_all(
    table: polars.DataFrame, keys: Mapping[str, str]
) -> tuple[list[tuple[float, float] | None], tuple[str, ...]]:
    seen: dict[tuple[Any, ...], tuple[float, float] | str] = {}
    rows = table.rows()
    for row in rows:
        if row not in seen:
            seen[row] = _count({keys[c]: v for c, v in zip(table.columns, row, strict=True)})
    reasons = dict.fromkeys(reason.rstrip(".") for reason in seen.values() if isinstance(reason, str))
    made = [seen[row] for row in rows]
    return [None if isinstance(each, str) else each for each in made], tuple(reasons)


def _count(values: Mapping[str, Any]) -> tuple[float, float] | str:
    """All and active parameters of one configuration, or why they cannot be counted."""
    from forescale.workload._config import parse_config

    try:
        shape = parse_config({key: _parsed(value) for key, value in values.items() if value is not None}).shape
    except ForescaleError as error:
        return str(error)
    return float(shape.params), float(shape.active_params)


def _parsed(value: Any) -> Any:
    """Tables of text hold numbers, booleans and lists as text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        return _parsed(json.loads(value.lower() if value in ("True", "False") else value))
    except (ValueError, RecursionError):
        return value
