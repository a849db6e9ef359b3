"""Tables: CSV, TSV, Parquet, JSON lines and data frames of any library, with those that tools are known to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from forescale.errors import ForescaleError, MissingExtraError
from forescale.runs._check_file import check_header, check_kind, check_names
from forescale.runs._readers import _optuna, _wandb
from forescale.runs._readers._source import Source, flatten, table_of

if TYPE_CHECKING:
    import polars

NULLS = ["", "NA", "N/A", "n/a", "null", "NULL", "None", "none", "-"]


def read_frame(source: Any) -> Source:
    """Runs of a data frame."""
    import polars as pl

    frame = source if isinstance(source, pl.DataFrame) else _from_any_frame(source)
    return _recognised(Source(table=frame, name="the data frame"))


def read_table(path: Path) -> Source:
    """Runs of a file of text or Parquet."""
    import polars as pl

    try:
        return _recognised(Source(table=_from_file(path), name=path.name))
    except OSError as error:
        raise ForescaleError(f"the runs file {path} cannot be read: {error.strerror or error}.") from None
    except pl.exceptions.NoDataError:
        raise ForescaleError(f"the runs file {path} is empty: give a table with one row per finished run.") from None
    except (pl.exceptions.PolarsError, EOFError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ForescaleError(f"the runs file {path} is not the table its name promises: {reason}.") from None


def read_records(records: Sequence[Any], name: str) -> Source:
    """Runs of a list of JSON objects."""
    if not all(isinstance(record, dict) for record in records):
        raise ForescaleError(f"{name} must hold a list of objects, one a run, or the runs of a tool that is known.")
    return _recognised(Source(table=table_of([flatten(cast("dict[str, Any]", r)) for r in records]), name=name))


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
    return pl.DataFrame([_column(str(c), frame[c].to_list()) for c in frame.columns])


def _column(name: str, values: list[Any]) -> polars.Series:
    import polars as pl

    if any(isinstance(value, dict) for value in values):
        return pl.Series(name, values, dtype=pl.Object)  # mappings of different keys are no column of one type
    return pl.Series(name, values, strict=False)


def _recognised(source: Source) -> Source:
    """A table as a tool writes it: W&B's runs table, its chart, a frame of its API's runs, Optuna's trials."""
    table, header = source.table, source.table.columns
    if _wandb.is_chart(header):
        return _wandb.read_chart(header, [table[c].to_list() for c in header], source.name)
    if cells := list(_wandb.cells_of(header)):
        return _wandb.read_runs_of_api(_nodes(table, cells), source.name)
    if _wandb.is_table(header):
        label = next(name for name in ("Name", "ID") if name in header)
        return replace(_named(source, label), nan_diverges=True)
    if renamed := _optuna.unprefixed(header):
        loss = {"loss": "value"} if "value" in header else {}
        return replace(source, table=table.rename(dict(renamed)), columns=loss)
    return source


def _named(source: Source, label: str) -> Source:
    """Runs that have names of their own, if they all have."""
    return replace(source, label=label) if source.table[label].null_count() == 0 else source


def _nodes(table: polars.DataFrame, cells: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a frame of the API's runs; mappings may be structs, objects, or text as `to_csv` writes them."""
    lists = {column: table[column].to_list() for column in table.columns}
    return [
        {
            **{c: v[i] for c, v in lists.items() if c in ("name", "id", "state") and v[i] is not None},
            **{c: _wandb.parse_cell(lists[c][i]) for c in cells},
        }
        for i in range(table.height)
    ]
