"""Read a table of runs: CSV, TSV, Parquet, JSON lines, or a data frame of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, MissingExtraError
from forescale.runs._batch import add_batch
from forescale.runs._check_file import check_header, check_kind, check_names
from forescale.runs._columns import Found, find_columns, missing_columns
from forescale.runs._numbers import DIVERGED_LOSS, ROW, check_values, numbers
from forescale.runs._runs import DIVERGED, SAME_TOKENS, Runs

if TYPE_CHECKING:
    import polars

SWEEP = ("params", "tokens", "learning_rate", "batch_tokens", "loss")
NULLS = ["", "NaN", "nan", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "none", "-"]


def read_runs(
    source: str | Path | Any,
    *,
    columns: Mapping[str, str] | None = None,
    seq_len: int | None = None,
    needs: Sequence[str] = SWEEP,
) -> Runs:
    """Read runs from a file (.csv, .tsv, either with .gz; .parquet; .jsonl) or a data frame.

    `columns` maps our names to the source's where the aliases do not find them; `seq_len` (tokens) turns a batch in
    sequences into tokens; `needs` are the columns that must be there. Rows without a loss are dropped and counted.
    Raises `ForescaleError` for a source that is empty, lacks a column, has text in numbers, or mixes up units.
    """
    table, name = _table(source)
    if table.height == 0:
        raise ForescaleError(f"{name} has no runs, at most a header: give a table with one row per finished run.")
    found = find_columns(table.columns, columns)
    _check_needs(found, needs, table.columns)
    table = table.with_row_index(ROW, offset=2).filter(~_blank(table))
    parsed = _parse(table, found)
    frame = parsed.drop_nulls("loss")
    if frame.height == 0:
        raise ForescaleError(
            f"no run in {name} has a loss (column {found.columns['loss']!r} is empty or NaN in all "
            f"{parsed.height} rows; NaN in a run's log means that it diverged): choose the column with --columns loss=COLUMN."
        )
    return _runs(frame, found, needs, seq_len, table, name)


def _runs(
    frame: polars.DataFrame,
    found: Found,
    needs: Sequence[str],
    seq_len: int | None,
    table: polars.DataFrame,
    name: str,
) -> Runs:
    for column in found.columns:
        check_values(frame, column, found.columns[column], optional=column not in needs)
    frame = _add_active(frame, found)
    frame, notes = _cap_losses(frame)
    notes = (*_notes(found, table), *notes)
    if "batch_tokens" in needs:
        frame, more = add_batch(frame, found.columns, seq_len)
        notes += more
    frame, more = _add_cells(frame)
    return Runs(
        frame=frame.drop(ROW),
        source=name,
        columns=dict(found.columns),
        notes=(*notes, *more),
        read=table.height,
        missing_loss=table.height - frame.height,
        diverged=int(frame["diverged"].sum()),
    )


def _table(source: str | Path | Any) -> tuple[polars.DataFrame, str]:
    import polars as pl

    if isinstance(source, pl.DataFrame):
        return source, "the data frame"
    if not isinstance(source, (str, Path)):
        return _from_any_frame(source), "the data frame"
    path = Path(source)
    try:
        return _from_file(path), path.name
    except OSError as error:
        raise ForescaleError(f"the runs file {path} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.NoDataError:
        raise ForescaleError(f"the runs file {path} is empty: give a table with one row per finished run.") from None
    except (pl.exceptions.PolarsError, EOFError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ForescaleError(f"the runs file {path} is not the table its name promises: {reason}.") from None


def _from_file(path: Path) -> polars.DataFrame:
    import polars as pl

    suffixes = [s.lower() for s in path.suffixes]
    check_kind(path, suffixes)
    if suffixes[-1:] == [".parquet"]:
        return pl.read_parquet(path)
    if suffixes[-1:] in ([".jsonl"], [".ndjson"]):
        return pl.read_ndjson(path, infer_schema_length=None)
    separator = "\t" if ".tsv" in suffixes else ","
    check_header(path, suffixes, separator)
    return pl.read_csv(path, separator=separator, infer_schema=False, null_values=NULLS)


def _from_any_frame(source: Any) -> polars.DataFrame:
    import polars as pl

    try:
        narwhals: Any = import_module("narwhals")
    except ImportError:
        raise MissingExtraError("a data frame of another library needs narwhals: pip install narwhals.") from None
    try:
        frame: Any = narwhals.from_native(source, eager_only=True)
    except narwhals.exceptions.DuplicateError:
        raise ForescaleError("the data frame must not have two columns of one name: rename one.") from None
    except TypeError:
        raise ForescaleError(
            f"runs must be a path or an eager data frame (pandas, polars, pyarrow ...); got {type(source).__name__}."
        ) from None
    check_names([str(c) for c in frame.columns], "the data frame")
    return pl.DataFrame({str(c): frame[c].to_list() for c in frame.columns}, strict=False)


def _check_needs(found: Found, needs: Sequence[str], header: Sequence[str]) -> None:
    missing = [name for name in needs if name not in found.columns]
    if "batch_tokens" in missing and ("batch_sequences" in found.columns or "steps" in found.columns):
        missing.remove("batch_tokens")
    if missing:
        raise missing_columns(missing, header)


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


def _blank(table: polars.DataFrame) -> polars.Series:
    return table.select(blank=_all_null(table.columns))["blank"]


def _all_null(columns: Sequence[str]) -> polars.Expr:
    import polars as pl

    return pl.all_horizontal(pl.col(list(columns)).is_null())


def _parse(table: polars.DataFrame, found: Found) -> polars.DataFrame:
    """The found columns as numbers. Text in a run without a loss counts too: a shifted row must not go unseen."""
    return table.select(ROW, *(numbers(table, column, name) for name, column in found.columns.items()))


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
            f"({found.columns['params']!r}); row {above[ROW][0]} has more of the former: name the right columns with "
            "--columns."
        )
    return frame


def _notes(found: Found, table: polars.DataFrame) -> tuple[str, ...]:
    """What the reader chose between: columns of the same content need no word."""
    notes: list[str] = []
    for name, others in found.others.items():
        chosen = found.columns[name]
        rivals = [o for o in others if not table[o].equals(table[chosen])]
        if rivals:
            listed = ", ".join(repr(r) for r in rivals)
            notes.append(f"{name} is read from {chosen!r}, not from {listed}; --columns {name}=COLUMN chooses another")
    if found.vague_params():
        notes.append(
            f"params is read from {found.columns['params']!r} and taken as non-vocabulary parameters: if it counts "
            "embeddings, the laws see a larger model than they mean"
        )
    return tuple(notes)


def _add_cells(frame: polars.DataFrame) -> tuple[polars.DataFrame, tuple[str, ...]]:
    import polars as pl

    keys = [k for k in ("params", "active_params", "tokens") if k in frame.columns]
    workloads = sorted(set(frame.select(keys).rows()))
    ids, cells = _cell_ids(workloads)
    table = pl.DataFrame({**{k: [w[i] for w in workloads] for i, k in enumerate(keys)}, "cell": ids})
    frame = frame.join(table, on=keys, how="left", maintain_order="left")
    limit = DIVERGED * pl.col("loss").min().over("cell")
    frame = frame.with_columns(diverged=pl.col("loss").is_infinite() | (pl.col("loss") > limit))
    if cells == len(workloads):
        return frame, ()
    return frame, (f"token counts within {SAME_TOKENS:.0%} count as one: {len(workloads)} make {cells} cells",)


def _cell_ids(workloads: Sequence[tuple[float, ...]]) -> tuple[list[int], int]:
    """Number ascending (params, active_params, tokens), giving a number to those whose tokens nearly agree."""
    ids: list[int] = []
    cell, first = -1, (0.0,)
    for workload in workloads:
        if workload[:-1] != first[:-1] or workload[-1] > first[-1] * (1 + SAME_TOKENS):
            cell, first = cell + 1, workload
        ids.append(cell)
    return ids, cell + 1
