"""Which reader a source needs: by what is in it, not by what it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from forescale.errors import ForescaleError
from forescale.runs._readers import _forescale, _mlflow, _optuna, _ray, _sweep, _tensorboard, _trainer_state, _wandb
from forescale.runs._readers._files import as_dict, files_below, read_json, read_json_lines
from forescale.runs._readers._source import Source
from forescale.runs._readers._sqlite import is_sqlite, read_only, tables
from forescale.runs._readers._table import read_frame, read_records, read_table

PART = "::"  # path::name, one of several studies or experiments
SOUGHT = (
    "runs of `forescale train` (result.json), an MLflow store (mlruns, mlflow.db), Ray Tune trials (params.json with "
    "result.json or progress.csv), Hugging Face runs (trainer_state.json), W&B run folders (run-DATE-ID), TensorBoard "
    "event files"
)
DATABASES = ("mlflow.db", "optuna.db")


def open_source(source: str | Path | Any) -> Source:
    """Read a file, a folder, `file::part` or a data frame as a table of runs; `ForescaleError` if nothing fits."""
    if not isinstance(source, (str, Path)):
        return read_frame(source)
    path, part = _split(str(source))
    if path.is_dir():
        _refuse_part(path, part)
        return _folder(path)
    try:
        found = _file(path, part)
    except OSError as error:
        raise ForescaleError(f"the runs file {path} cannot be read: {error.strerror or error}.") from None
    return found


def _split(source: str) -> tuple[Path, str | None]:
    """`study.db::name`, where no file has the whole for its name; also the address that tools use for a database."""
    text = source
    for scheme in ("sqlite:///", "sqlite:/", "file://", "file:"):
        text = text.removeprefix(scheme)
    place, mark, part = text.rpartition(PART)
    if mark and place and not Path(text).exists():
        return Path(place), part
    return Path(text), None


def _refuse_part(path: Path, part: str | None) -> None:
    if part is not None:
        raise ForescaleError(f"{PART}{part} names a study or an experiment of a database; {path} is none.")


def _file(path: Path, part: str | None) -> Source:
    if is_sqlite(path):
        return _database(path, part)
    beside = path.parent / "params.json"
    if path.name in _ray.LOGS and _ray.find_folders([path, *([beside] if beside.is_file() else [])]):
        _refuse_part(path, part)
        return _ray.read_folders([path.parent], path.parent.name)
    if "tfevents" in path.name:
        return _tensorboard.read_files([path.resolve()], path.resolve().parent, path.name)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".log", ".journal", ".txt") and _optuna.is_journal(path):
        return _optuna.read_journal(path, part)
    _refuse_part(path, part)
    if suffix == ".json":
        return _json(path)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(path)
    return read_table(path)


def _database(path: Path, part: str | None) -> Source:
    with read_only(path) as connection:
        has = tables(connection)
    if has.keys() >= _optuna.TABLES:
        return _optuna.read_database(path, part)
    if has.keys() >= _mlflow.TABLES:
        return _mlflow.read_database(path, part)
    if has.keys() >= _sweep.TABLES:
        _refuse_part(path, part)
        return _sweep.read_database(path)
    listed = ", ".join(sorted(has)[:12]) or "none"
    raise ForescaleError(
        f"{path} is an SQLite database of neither Optuna (studies, trials) nor MLflow (experiments, runs) nor a sweep's "
        f"store (forescale_runs); its tables: {listed}."
    )


def _json(path: Path) -> Source:
    data = read_json(path)
    if _forescale.is_result(data):
        return _forescale.read_result(path)
    if path.name.endswith(_trainer_state.NAME) or "log_history" in as_dict(data):
        return _trainer_state.read_files([path], path.name)
    if (nodes := _wandb.runs_in(data)) is not None:
        return _wandb.read_runs_of_api(nodes, path.name)
    if isinstance(data, list) and data:
        return read_records(cast("list[Any]", data), path.name)
    raise ForescaleError(
        f"{path} is JSON of no kind that holds runs: looked for a list of objects, W&B runs (config and summary) and a "
        "trainer_state.json (log_history)."
    )


def _json_lines(path: Path) -> Source:
    """W&B runs are told by their first line; any other lines are a table."""
    with path.open("rb") as file:
        first = file.readline(1_000_000)
    if b'"config"' in first and (nodes := _wandb.runs_in(list(read_json_lines(path)))) is not None:
        return _wandb.read_runs_of_api(nodes, path.name)
    return read_table(path)


def _folder(path: Path) -> Source:
    """The first kind of store that a folder holds; others that it holds too are named in a note."""
    root = path.resolve()
    files = list(files_below(root))
    for name in DATABASES:
        if (root / name) in files:
            return _database(root / name, None)
    kinds: list[tuple[str, Sequence[Path], Callable[[Any], Source]]] = [
        ("an MLflow store", _mlflow.find_folders(files), lambda f: _mlflow.read_folders(f, path.name)),
        ("runs of `forescale train`", _forescale.find_folders(files), lambda f: _forescale.read_folders(f, path.name)),
        ("Ray Tune trials", _ray.find_folders(files), lambda f: _ray.read_folders(f, path.name)),
        ("Hugging Face runs", _trainer_state.find_files(files), lambda f: _trainer_state.read_files(f, path.name)),
        ("W&B runs", _wandb.find_folders(files), lambda f: _wandb.read_folders(f, path.name)),
        ("event files", _tensorboard.find_files(files), lambda f: _tensorboard.read_files(f, root, path.name)),
    ]
    there = [(kind, found, read) for kind, found, read in kinds if found]
    if not there:
        raise ForescaleError(f"the folder {path} holds no runs of a kind that is known: looked for {SOUGHT}.")
    kind, found, read = there[0]
    others = [other for other, _, _ in there[1:] if (kind, other) not in EXPECTED]
    source = read(found)
    note = f"{path.name} is read as {kind}; it also holds {' and '.join(others)}: give their folder to read those"
    return replace(source, notes=(note, *source.notes)) if others else source


# Trials and trainers write event files of their own.
EXPECTED = {
    *(
        (kind, "event files")
        for kind in ("runs of `forescale train`", "Ray Tune trials", "Hugging Face runs", "W&B runs")
    ),
    ("runs of `forescale train`", "W&B runs"),
}
