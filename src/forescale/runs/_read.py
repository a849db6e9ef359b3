"""Read runs: from tables, and from the stores of the tools that people track them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError
from forescale.runs._batch import add_batch, add_tokens
from forescale.runs._columns import ALIASES, LAST_STEP, SMOOTHED, Found, find_columns, missing_columns, readings
from forescale.runs._constants import add_constants, check_constants, said
from forescale.runs._derive import MADE, add_batch_factors, add_model_params
from forescale.runs._final_loss import SMOOTHING
from forescale.runs._finished import unfinished
from forescale.runs._numbers import DIVERGED_LOSS, ROW, check_values, numbers
from forescale.runs._readers._open import open_source
from forescale.runs._readers._source import Source
from forescale.runs._runs import DIVERGED, SAME_TOKENS, Runs

if TYPE_CHECKING:
    import polars

SWEEP = ("params", "tokens", "learning_rate", "batch_tokens", "loss")
OURS = frozenset({*ALIASES, "cell", "diverged", ROW})


def read_runs(
    source: str | Path | Any,
    *,
    columns: Mapping[str, str] | None = None,
    seq_len: int | None = None,
    needs: Sequence[str] = SWEEP,
    constants: Mapping[str, str | float] | None = None,
    keep_unfinished: bool = False,
) -> Runs:
    """Read runs from a table (.csv, .tsv, either with .gz; .parquet; .jsonl; .json), a data frame or a tool's store.

    Stores: a W&B export or run folders, an MLflow store, TensorBoard event files, an Optuna study (`file::study` where
    there are several), a Ray Tune experiment, Hugging Face's `trainer_state.json`, a sweep's store (`sweep.db`); what each
    is read as: Concepts, Runs.
    `columns` maps our names to the source's where the aliases do not find them; `seq_len` (tokens) turns a batch in
    sequences into tokens; `needs` are the columns that must be there; `constants` gives by our name what is alike in
    every run and not recorded, as a number or text such as `2.6B`. Rows without a loss are dropped and counted, and so
    are runs that did not finish, unless `keep_unfinished`; a run that ends in NaN has diverged: its loss is infinite.
    Raises `ForescaleError` for a source that is empty, lacks a column, has text in numbers, or mixes up units.
    """
    given = check_constants(constants or {})
    if seq_len is not None and "seq_len" in given:
        raise ForescaleError("the sequence length is set twice: give --seq-len or --set seq_len.")
    opened = open_source(source)
    if opened.table.height == 0:
        raise ForescaleError(
            f"{opened.name} has no runs, at most a header: give a table with one row per finished run."
        )
    table, explicit = add_constants(opened.table, given, dict(columns or {}))
    table, found, notes = _find(replace(opened, table=table), explicit)
    _check_needs(found, needs, table.columns, opened.hint)
    table = _labelled(table, opened.label).filter(~_blank(opened.table))
    parsed = _parse(table, found, opened)
    late, why = unfinished(table)
    late = late & ~parsed["loss"].is_infinite().fill_null(False) & (not keep_unfinished)
    frame = parsed.filter(~late).drop_nulls("loss")
    if frame.height == 0:
        raise _none_left(opened.name, found, parsed.height, int(late.sum()), why)
    notes = (*opened.notes, *said(given), *notes, *_late(int(late.sum()), why))
    notes += _rivals(found, table.filter(~late), store=opened.nan_diverges)
    runs = _runs(frame, found, needs, seq_len, notes, opened.name)
    left_out = int(late.sum())
    return replace(runs, read=table.height, missing_loss=table.height - left_out - frame.height, unfinished=left_out)


def _find(source: Source, explicit: Mapping[str, str]) -> tuple[polars.DataFrame, Found, tuple[str, ...]]:
    """Match the columns, and add those that follow from others."""
    table, notes = source.table, ()
    header = [c for c in table.columns if not _placeholder(table[c])]
    known = dict(source.columns)
    found = find_columns(header, explicit, known)
    for derive in (add_batch_factors, add_model_params):
        wider, made, more = derive(table, found)
        if made.keys() & explicit.keys():
            continue  # the user said where to read it
        table, known, header = wider, known | made, [*header, *made.values()]
        found = find_columns(header, explicit, known)
        notes += more
    return table, found, notes


def _placeholder(values: polars.Series) -> bool:
    """Trainers write -1 for a number of steps that was left to the epochs."""
    names = {"max_steps", "max_train_steps", "num_train_steps", "max_iters", "total_steps"}
    if not any(plain in names for plain, _ in readings(values.name)):
        return False
    text = set(values.drop_nulls().cast(str).unique().to_list())
    return bool(text) and text <= {"-1", "-1.0", "0", "0.0"}


def _labelled(table: polars.DataFrame, label: str | None) -> polars.DataFrame:
    """What messages call each run: its name in a store, its row in a file."""
    import polars as pl

    if label is not None:
        return table.with_columns(pl.format("run '{}'", pl.col(label)).alias(ROW))
    rows = pl.int_range(2, table.height + 2).cast(pl.String)
    return table.with_columns(pl.format("row {}", rows).alias(ROW))


def _blank(table: polars.DataFrame) -> polars.Series:
    import polars as pl

    return table.select(blank=pl.all_horizontal(pl.all().is_null()))["blank"]


def _parse(table: polars.DataFrame, found: Found, source: Source) -> polars.DataFrame:
    """The found columns as numbers, then the others. Text in a run without a loss counts too: a shifted row shows."""
    import polars as pl

    nan = {"loss": float("inf")} if source.nan_diverges else {}
    read = {name: numbers(table, column, name, nan=nan.get(name)) for name, column in found.columns.items()}
    if source.nan_diverges and "loss" in read:
        read["loss"] = _from_other_losses(read["loss"], table, found)
    if LAST_STEP in table.columns and LAST_STEP not in found.columns.values():
        read[LAST_STEP] = table[LAST_STEP]
    others = [c for c in table.columns if c != ROW and c not in found.columns.values() and c != LAST_STEP]
    kept = [_typed(table[c]).alias(f"source.{c}" if c in OURS else c) for c in others]
    return pl.DataFrame([table[ROW], *(read[name].alias(name) for name in read), *kept])


def _typed(values: polars.Series) -> polars.Series:
    """A column of text as numbers where every value is one."""
    import polars as pl

    if values.dtype != pl.String:
        return values
    cast = values.str.strip_chars().cast(pl.Float64, strict=False)
    return cast if cast.null_count() == values.null_count() else values


def _from_other_losses(loss: polars.Series, table: polars.DataFrame, found: Found) -> polars.Series:
    """A run whose training loss ends in NaN has diverged, whatever it was last evaluated at.

    Where the loss is that of a curve and a run has none, its last training loss stands in.
    """
    import polars as pl

    for other in found.others.get("loss", ()):
        if not (table[other].dtype.is_float() or table[other].dtype == pl.String):
            continue
        values = numbers(table, other, "loss", nan=float("inf"), strict=False)
        ended = values.is_infinite() & (loss.is_null() if other != SMOOTHED else pl.Series([True] * len(loss)))
        loss = pl.select(pl.when(ended.fill_null(False)).then(float("inf")).otherwise(loss).alias("loss"))["loss"]
        if found.columns["loss"] == SMOOTHED:
            loss = loss.fill_null(values)
    return loss


def _check_needs(found: Found, needs: Sequence[str], header: Sequence[str], hint: str) -> None:
    missing = [name for name in needs if name not in found.columns]
    steps = "steps" in found.columns or LAST_STEP in header
    batch = "batch_tokens" in found.columns or "batch_sequences" in found.columns
    if "batch_tokens" in missing and ("batch_sequences" in found.columns or ("tokens" in found.columns and steps)):
        missing.remove("batch_tokens")
    if "tokens" in missing and steps and batch:
        missing.remove("tokens")
    if missing:
        raise missing_columns(missing, [c for c in header if c != ROW], hint)


def _none_left(name: str, found: Found, rows: int, late: int, why: Sequence[str]) -> ForescaleError:
    if late:
        return ForescaleError(
            f"no run in {name} has finished with a loss ({late} of {rows} did not finish: {'; '.join(why)}): wait for "
            "them, or say --keep-unfinished if they count."
        )
    return ForescaleError(
        f"no run in {name} has a loss (column {found.columns['loss']!r} is empty or NaN in all "
        f"{rows} rows; NaN in a run's log means that it diverged): choose the column with --columns loss=COLUMN."
    )


def _late(count: int, why: Sequence[str]) -> tuple[str, ...]:
    if not count:
        return ()
    said = "1 run that did not finish is" if count == 1 else f"{count} runs that did not finish are"
    return (f"{said} left out ({'; '.join(why)}); --keep-unfinished keeps them",)


def _runs(
    frame: polars.DataFrame,
    found: Found,
    needs: Sequence[str],
    seq_len: int | None,
    notes: tuple[str, ...],
    name: str,
) -> Runs:
    for column in found.columns:
        check_values(frame, column, found.columns[column], optional=column not in needs)
    frame = _add_active(frame, found)
    frame, more = _cap_losses(frame)
    notes += more
    frame, more = add_tokens(frame, found.columns, seq_len, needed="tokens" in needs)
    notes += more
    if "batch_tokens" in needs:
        frame, more = add_batch(frame, found.columns, seq_len)
        notes += more
    frame, more = _add_cells(frame)
    frame = frame.drop(ROW)
    return Runs(
        frame=frame.select(*(c for c in frame.columns if c in OURS), *(c for c in frame.columns if c not in OURS)),
        source=name,
        columns=dict(found.columns),
        notes=(*notes, *more),
        read=frame.height,
        missing_loss=0,
        diverged=int(frame["diverged"].sum()),
    )


def _cap_losses(frame: polars.DataFrame) -> tuple[polars.DataFrame, tuple[str, ...]]:
    """A loss that no surface can hold counts as infinite: the run diverged."""
    import polars as pl

    if "loss" not in frame.columns:
        return frame, ()
    huge = pl.col("loss").is_finite() & (pl.col("loss") > DIVERGED_LOSS)
    count = frame.filter(huge).height
    if not count:
        return frame, ()
    capped = pl.when(huge).then(float("inf")).otherwise(pl.col("loss")).alias("loss")
    return frame.with_columns(capped), (f"{count} losses above {DIVERGED_LOSS:g} nats are taken as infinite",)


def _add_active(frame: polars.DataFrame, found: Found) -> polars.DataFrame:
    import polars as pl

    if "params" not in frame.columns:
        return frame
    if "active_params" not in frame.columns:
        return frame.with_columns(active_params=pl.col("params"))
    frame = frame.with_columns(pl.col("active_params").fill_null(pl.col("params")))
    above = frame.filter(pl.col("active_params") > pl.col("params"))
    if above.height:
        raise ForescaleError(
            f"active parameters ({found.columns['active_params']!r}) are a part of all parameters "
            f"({found.columns['params']!r}); {above[ROW][0]} has more of the former: name the right columns with "
            "--columns."
        )
    return frame


def _rivals(found: Found, table: polars.DataFrame, *, store: bool) -> tuple[str, ...]:
    """What the reader chose between: columns of the same content need no word; of a store's loss, what it is."""
    notes: list[str] = []
    for name, chosen in found.columns.items():
        rivals = [o for o in found.others.get(name, ()) if not table[o].equals(table[chosen]) and o != SMOOTHED]
        what = _which_loss(chosen) if store and name == "loss" else f"{name} is read from {chosen!r}"
        if rivals and not chosen.startswith(MADE):
            listed = ", ".join(repr(r) for r in rivals)
            notes.append(f"{what}, not from {listed}; --columns {name}=COLUMN chooses another")
        elif store and name == "loss":
            notes.append(what)
    if found.vague_params():
        notes.append(
            f"params is read from {found.columns['params']!r} and taken as non-vocabulary parameters: if it counts "
            "embeddings, the laws see a larger model than they mean"
        )
    return tuple(notes)


def _which_loss(column: str) -> str:
    if column == SMOOTHED:
        return (
            f"loss is the training loss at the end of its curve, smoothed ({SMOOTHING}; the last value without a curve)"
        )
    return f"loss is the last value of {column!r}"


def _add_cells(frame: polars.DataFrame) -> tuple[polars.DataFrame, tuple[str, ...]]:
    import polars as pl

    keys = [k for k in ("params", "active_params", "tokens") if k in frame.columns]
    if not keys:  # nothing tells one workload from another
        return _mark_diverged(frame.with_columns(cell=pl.lit(0, pl.Int64))), ()
    workloads = sorted(set(frame.select(keys).rows()))
    ids, cells = _cell_ids(workloads)
    table = pl.DataFrame({**{k: [w[i] for w in workloads] for i, k in enumerate(keys)}, "cell": ids})
    frame = frame.join(table, on=keys, how="left", maintain_order="left")
    frame = _mark_diverged(frame)
    if cells == len(workloads):
        return frame, ()
    return frame, (f"token counts within {SAME_TOKENS:.0%} count as one: {len(workloads)} make {cells} cells",)


def _mark_diverged(frame: polars.DataFrame) -> polars.DataFrame:
    import polars as pl

    limit = DIVERGED * pl.col("loss").min().over("cell")
    return frame.with_columns(diverged=pl.col("loss").is_infinite() | (pl.col("loss") > limit))


def _cell_ids(workloads: Sequence[tuple[float, ...]]) -> tuple[list[int], int]:
    """Number ascending (params, active_params, tokens), giving a number to those whose tokens nearly agree."""
    ids: list[int] = []
    cell, first = -1, (0.0,)
    for workload in workloads:
        if workload[:-1] != first[:-1] or workload[-1] > first[-1] * (1 + SAME_TOKENS):
            cell, first = cell + 1, workload
        ids.append(cell)
    return ids, cell + 1
