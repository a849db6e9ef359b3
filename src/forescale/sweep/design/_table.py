"""A table of runs to make: CSV, Parquet, JSON or TOML, one run a row."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.runs._columns import find_columns
from forescale.sweep.design._common import NAMES, Common, absolute_paths, unknown_name
from forescale.sweep.design._design import Design, make_design
from forescale.sweep.design._values import read_value

# Columns of a runs table that say what a run came to, not what it is.
MEASURED = frozenset(
    {
        *(
            "loss",
            "compute",
            "state",
            "key",
            "seconds",
            "tokens_per_second",
            "diverged",
            "cell",
            "train_loss",
            "problem",
        ),
        *("bits_per_byte", "unique_tokens", "sparsity", "nonzero_params"),
    }
)


def from_file(common: Common, path: str | Path, *, seeds: Sequence[int] = (), name: str = "") -> Design:
    """The runs of a table (.csv, .tsv, .parquet, .json, .jsonl; .toml with [[runs]]), one a row, in its order.

    Columns are named as in a runs table, or as `read_runs` knows them; what a row leaves empty is planned. A column of
    measurements is left out, and said. Raises `ForescaleError` for any other column, or a value that cannot be read.
    """
    path = Path(path)
    rows = list(_rows(path))
    header = list(dict.fromkeys(column for row in rows for column in row))
    names = _names(common, header, path)
    settings = [dict(_settings(row, names, path, number)) for number, row in enumerate(rows, start=1)]
    left_out = [column for column in header if column not in names]
    notes = [f"{', '.join(left_out)} of {path.name} says what runs came to, and is left out"] if left_out else []
    settings = [absolute_paths(each, path.parent) for each in settings]
    return make_design(common, settings, name=name or path.name, seeds=seeds, notes=notes)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".toml":
        yield from _toml(path)
        return
    from forescale.runs._readers._files import read_json
    from forescale.runs._readers._table import read_records, read_table

    if not path.is_file():
        raise ForescaleError(f"the table of runs {path} is not there: name a file.")
    if path.suffix.lower() == ".json":
        records: Any = read_json(path)
        table = read_records(cast("list[Any]", records) if isinstance(records, list) else [records], path.name).table
    else:
        table = read_table(path).table
    for row in table.iter_rows(named=True):
        yield {str(key): value for key, value in row.items() if value is not None}


def _toml(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ForescaleError(f"the table of runs {path} cannot be read: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForescaleError(f"the table of runs {path} is not valid TOML: {error}.") from None
    runs = content.pop("runs", None)
    if content or not isinstance(runs, list) or not all(isinstance(run, dict) for run in cast("list[Any]", runs)):
        raise ForescaleError(f"{path} must hold runs as tables [[runs]] and nothing else; it has {', '.join(content)}.")
    yield from cast("list[dict[str, Any]]", runs)


def _names(common: Common, header: Sequence[str], path: Path) -> dict[str, str]:
    """Column -> our name, for those that say what a run is."""
    known = NAMES | (common.command.fields if common.command else frozenset[str]())
    own = {column: column for column in header if column in known}
    rest = [column for column in header if column not in known]
    found = find_columns(rest)
    alike = {column: name for name, column in found.columns.items() if name in known and name not in own}
    for column in rest:
        if column not in alike and column not in MEASURED and column not in found.columns.values():
            raise unknown_name(column, known, f"{path.name}: a run has no")
    return own | alike


def _plain(value: Any) -> Any:
    """A number of a table of texts, for a field that is the command's own."""
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return value


def _settings(row: Mapping[str, Any], names: Mapping[str, str], path: Path, number: int) -> Iterator[tuple[str, Any]]:
    for column, name in names.items():
        if row.get(column) is not None:
            try:
                yield name, read_value(name, row[column] if name in NAMES else _plain(row[column]))
            except ForescaleError as error:
                raise ForescaleError(f"{path.name}, run {number}: {error}") from None
