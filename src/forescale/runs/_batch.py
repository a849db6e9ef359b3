"""The batch in tokens, from whichever columns say it, and the cross-check with steps and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.runs._columns import LAST_STEP
from forescale.runs._derive import MADE
from forescale.runs._numbers import ROW

if TYPE_CHECKING:
    import polars

AGREE = 0.05  # steps * batch may miss the tokens by this much: rounding, a dropped last batch
FEW_STEPS = 100
COUNTERS = ("step", "iter", "iteration")  # as often counts of reports as of optimizer steps
FAR = 16  # times: no run that was cut short is off by one factor this large, as sequences for tokens are


def add_batch(
    frame: polars.DataFrame, columns: Mapping[str, str], seq_len: int | None
) -> tuple[polars.DataFrame, tuple[str, ...]]:
    """Add batch_tokens to runs and check it; `columns` names the source's columns for the messages.

    Raises `ForescaleError` where the sequence length is needed and missing, or where batch, steps and tokens disagree.
    """
    frame = _add_seq_len(frame, columns, seq_len)
    notes: tuple[str, ...] = ()
    if "batch_tokens" in frame.columns:
        _check_sequences(frame, columns)
    elif "batch_sequences" in frame.columns:
        frame = _from_sequences(frame, columns)
    else:
        frame = _from_steps(frame, columns)
        notes = (f"no column holds the batch: it is tokens / {_steps(frame, columns)[1]}",)
    _check_one_step(frame)
    return frame, (*notes, *_check_steps(frame, columns), *_few_steps(frame))


def add_tokens(
    frame: polars.DataFrame, columns: Mapping[str, str], seq_len: int | None, *, needed: bool
) -> tuple[polars.DataFrame, tuple[str, ...]]:
    """Add tokens, where no column holds them, as steps × batch; nothing if that cannot be told and is not `needed`."""
    import polars as pl

    steps, called = _steps(frame, columns)
    if "tokens" in frame.columns or not steps:
        return frame, ()
    full = _add_seq_len(frame, columns, seq_len)
    if "batch_tokens" not in full.columns:
        if "batch_sequences" not in full.columns or not (needed or "seq_len" in full.columns):
            return frame, ()
        full = _from_sequences(full, columns)
    made = full.with_columns(tokens=pl.col(steps) * pl.col("batch_tokens"))
    if made["tokens"].null_count():
        if not needed:
            return frame, ()
        row = made.filter(pl.col("tokens").is_null())[ROW][0]
        raise ForescaleError(f"tokens are {called} × batch, and {row} lacks one of them: fill it in or remove the run.")
    return frame.with_columns(made["tokens"]), (f"no column holds the tokens: they are {called} × batch",)


def _steps(frame: polars.DataFrame, columns: Mapping[str, str]) -> tuple[str, str]:
    """The column of steps and what the source calls it; the last step of a curve stands in for one."""
    if "steps" in frame.columns:
        return "steps", columns["steps"]
    return (LAST_STEP, "the last step logged") if LAST_STEP in frame.columns else ("", "")


def _add_seq_len(frame: polars.DataFrame, columns: Mapping[str, str], seq_len: int | None) -> polars.DataFrame:
    import polars as pl

    if seq_len is None:
        return frame
    if seq_len < 1:
        raise ForescaleError(f"--seq-len must be a positive number of tokens; got {seq_len}.")
    if "seq_len" in frame.columns and (other := frame.filter(pl.col("seq_len") != seq_len)).height:
        raise ForescaleError(
            f"--seq-len {seq_len} contradicts column {columns['seq_len']!r}, which has {other['seq_len'][0]:g} "
            f"in {other[ROW][0]}: leave --seq-len out."
        )
    return frame.with_columns(seq_len=pl.lit(float(seq_len)))


def _from_sequences(frame: polars.DataFrame, columns: Mapping[str, str]) -> polars.DataFrame:
    import polars as pl

    if "seq_len" not in frame.columns or frame["seq_len"].null_count():
        column = columns["batch_sequences"]
        tokens = "" if column.startswith(MADE) else f" (or, if it counts tokens, --columns batch_tokens={column})"
        raise ForescaleError(
            f"column {column!r} counts sequences and no column says how long they are: "
            f"give --seq-len, such as --seq-len 2048{tokens}."
        )
    return frame.with_columns(batch_tokens=pl.col("batch_sequences") * pl.col("seq_len"))


def _from_steps(frame: polars.DataFrame, columns: Mapping[str, str]) -> polars.DataFrame:
    import polars as pl

    steps, called = _steps(frame, columns)
    if frame[steps].null_count():
        raise ForescaleError(
            f"no column holds the batch and {called!r} (steps) is empty in some runs, so tokens / steps "
            "cannot stand in for it: name the batch with --columns batch_tokens=COLUMN."
        )
    return frame.with_columns(batch_tokens=pl.col("tokens") / pl.col(steps))


def _check_sequences(frame: polars.DataFrame, columns: Mapping[str, str]) -> None:
    if "batch_sequences" not in frame.columns or "seq_len" not in frame.columns:
        return
    ratio = (frame["batch_sequences"] * frame["seq_len"] / frame["batch_tokens"]).drop_nulls()
    if ratio.len() and not _near(_median(ratio), 1):
        raise ForescaleError(
            f"{columns['batch_sequences']!r} times the sequence length is {_median(ratio):.4g} times "
            f"{columns['batch_tokens']!r}, but both are the batch in tokens: name the right one with --columns "
            "batch_tokens=COLUMN."
        )


def _check_one_step(frame: polars.DataFrame) -> None:
    import polars as pl

    if "tokens" not in frame.columns:
        return
    short = frame.filter(pl.col("batch_tokens") > pl.col("tokens") * (1 + AGREE))
    if short.height:
        raise ForescaleError(
            f"a run must take at least one step; {short[ROW][0]} has {short['tokens'][0]:.4g} tokens and a batch "
            f"of {short['batch_tokens'][0]:.4g}: check the units of both (tokens in ones, not billions; --seq-len only "
            "for a batch in sequences)."
        )


def _check_steps(frame: polars.DataFrame, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Steps times batch are the tokens: an error if every run is off by one factor, a note if some runs are off."""
    if "steps" not in frame.columns or "tokens" not in frame.columns:
        return ()
    ratio = (frame["steps"] * frame["batch_tokens"] / frame["tokens"]).drop_nulls()
    if not ratio.len():
        return ()
    factor = _median(ratio)
    off = int(((ratio - 1).abs() > AGREE).sum())
    counter = columns["steps"].lower().rpartition("/")[2] in COUNTERS
    if off and not counter and bool(((ratio / factor - 1).abs() <= AGREE).all()):
        raise ForescaleError(_mixed(frame, columns, factor))
    if off:
        _refuse_two_units(columns, ratio)
        return (f"in {off} of {ratio.len()} runs steps × batch is not the tokens: unfinished runs, or mixed units",)
    return ()


def _refuse_two_units(columns: Mapping[str, str], ratio: polars.Series) -> None:
    """Some runs right and all others off by one large factor: two units in one column."""
    off = ratio.filter((ratio - 1).abs() > AGREE)
    factor = _median(off)
    if not 1 / FAR < factor < FAR and bool(((off / factor - 1).abs() <= AGREE).all()):
        column = columns.get("batch_tokens", columns.get("batch_sequences", columns["tokens"]))
        raise ForescaleError(
            f"{columns['steps']!r} × batch is the tokens in {len(ratio) - len(off)} runs and {factor:.4g} times the tokens in "
            f"the other {len(off)}: {column!r} seems to hold two units; convert those rows."
        )


def _mixed(frame: polars.DataFrame, columns: Mapping[str, str], factor: float) -> str:
    said = f"{columns['steps']!r} × batch is {factor:.4g} times the tokens in every run: the units look mixed up"
    if "batch_tokens" in columns:
        column = columns["batch_tokens"]
        return (
            f"{said}; if {column!r} counts sequences of {1 / factor:.0f} tokens, say "
            f"--columns batch_sequences={column} --seq-len {1 / factor:.0f}."
            if factor < 0.5
            else f"{said}; name the right columns with --columns."
        )
    column, length = columns["batch_sequences"], _median(frame["seq_len"].drop_nulls())
    if _near(factor, length):
        return f"{said}; {column!r} seems to count tokens already: say --columns batch_tokens={column}."
    return f"{said}; check --seq-len: {length / factor:.0f} would agree with the steps, {length:.0f} does not."


def _few_steps(frame: polars.DataFrame) -> tuple[str, ...]:
    if "tokens" not in frame.columns:
        return ()
    few = int((frame["tokens"] / frame["batch_tokens"] < FEW_STEPS).sum())
    if not few:
        return ()
    return (f"{few} runs take fewer than {FEW_STEPS} steps: check that the batch was not in tokens already",)


def _median(values: polars.Series) -> float:
    return float(values.median() or 0)  # type: ignore[arg-type]  # polars types it for dates too


def _near(value: float, target: float) -> bool:
    return abs(value / target - 1) <= AGREE
