"""MLflow stores: the folder `mlruns` and the SQLite database. Seen: MLflow 2 and 3 layouts, written by mlflow 3."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.runs._columns import is_called
from forescale.runs._readers._files import files_below, read_text, read_yaml
from forescale.runs._readers._source import Curve, Run, Source, number, source_of
from forescale.runs._readers._sqlite import read_only, rows, tables

TABLES = frozenset({"experiments", "runs", "params", "metrics"})
STATUS: dict[float, str] = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
LARGEST = 1.7976931348623157e308  # what the database holds for an infinite metric
Named = tuple[str, Run]  # the experiment's name, the run


def find_folders(files: Sequence[Path]) -> list[Path]:
    """The run folders among a folder's files: named as runs by a meta.yaml, or with both params and metrics."""
    named = {path.parent: _kind(path) for path in files if path.name == "meta.yaml"}
    parts = [{path.parent.parent for path in files if path.parent.name == part} for part in ("params", "metrics")]
    both = {folder for folder in parts[0] & parts[1] if named.get(folder, "run") == "run"}
    return sorted(both | {folder for folder, kind in named.items() if kind == "run"})


def _kind(meta: Path) -> str:
    """What a meta.yaml describes: MLflow has them for experiments and, since version 3, for models."""
    keys = {line.partition(":")[0] for line in read_text(meta).splitlines()}
    if "model_id" in keys:
        return "model"
    return "run" if keys & {"run_id", "run_uuid", "status"} else "experiment"


def read_folders(folders: Iterable[Path], name: str) -> Source:
    """Runs of a file store."""
    experiments: dict[Path, str] = {}
    named: list[Named] = []
    metas = [(folder, _meta(folder)) for folder in folders]
    for folder, meta in sorted(metas, key=lambda pair: number(pair[1].get("start_time")) or 0.0):
        if folder.parent not in experiments:
            experiments[folder.parent] = _experiment(folder.parent)
        if meta.get("lifecycle_stage", "active") == "active":
            named.append((experiments[folder.parent], _run(folder, meta)))
    return _source(named, name)


def _meta(folder: Path) -> dict[str, Any]:
    meta = folder / "meta.yaml"
    return read_yaml(meta) if meta.is_file() else {}


def _experiment(folder: Path) -> str:
    return str(_meta(folder).get("name", folder.name))


def _run(folder: Path, meta: dict[str, Any]) -> Run:
    status = meta.get("status", "FINISHED")
    tags = {f"tags.{key}": text for key, text in _texts(folder / "tags").items() if not key.startswith("mlflow.")}
    named = meta.get("run_name") or _texts(folder / "tags").get("mlflow.runName") or folder.name
    return Run(
        name=str(named),
        settings={f"params.{key}": text.strip() for key, text in _texts(folder / "params").items()} | tags,
        curves={f"metrics.{key}": _curve(text) for key, text in _texts(folder / "metrics").items()},
        state=STATUS.get(number(status) or 0, str(status)).upper(),
    )


def _texts(folder: Path) -> dict[str, str]:
    """The files below `params`, `metrics` or `tags`, by the name that they log."""
    if not folder.is_dir() or folder.is_symlink():
        return {}
    return {path.relative_to(folder).as_posix(): read_text(path) for path in files_below(folder)}


def _curve(text: str) -> Curve:
    """Lines of time stamp, value, step (and what later versions append); a last one that was cut short is left out."""
    points = [line.split() for line in text.splitlines()]
    read = [(number(p[2]) if len(p) > 2 else 0.0, number(p[1])) for p in points if len(p) > 1]
    return _ordered([(step, value) for step, value in read if step is not None and value is not None])


def _ordered(points: list[tuple[float, float]]) -> Curve:
    """By step; of several values at one step the one logged last."""
    last = dict(points)
    steps = sorted(last)
    return steps, [last[step] for step in steps]


def read_database(path: Path, part: str | None) -> Source:
    """Runs of an SQLite store; `part` names one of several experiments."""
    with read_only(path) as connection:
        query = "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'"
        experiments = {row[0]: str(row[1]) for row in rows(connection, query)}
        if part is not None and part not in experiments.values():
            listed = ", ".join(experiments.values()) or "none"
            raise UnknownNameError(f"{path} has no experiment {part!r}; it has {listed}.")
        chosen = {i: name for i, name in experiments.items() if part in (None, name)}
        return _source(_database_runs(connection, chosen), path.name)


def _database_runs(connection: sqlite3.Connection, experiments: dict[Any, str]) -> list[Named]:
    query = (
        "SELECT run_uuid, name, status, experiment_id FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
    )
    found = [row for row in rows(connection, query) if row[3] in experiments]
    settings = _settings(connection)
    curves = _curves(connection)
    return [
        (
            experiments[experiment],
            Run(name=str(name or run), settings=settings[run], curves=curves[run], state=str(status or "FINISHED")),
        )
        for run, name, status, experiment in found
    ]


def _settings(connection: sqlite3.Connection) -> defaultdict[str, dict[str, Any]]:
    settings: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for table in ("params", "tags"):
        if table in tables(connection):
            for run, key, value in rows(connection, f"SELECT run_uuid, key, value FROM {table}"):
                if not (table == "tags" and str(key).startswith("mlflow.")):
                    settings[run][f"{table}.{key}"] = value
    return settings


def _curves(connection: sqlite3.Connection) -> defaultdict[str, dict[str, Curve]]:
    """Whole curves of losses and learning rates; of other metrics the last value, which is all that is used."""
    keys = [row[0] for row in rows(connection, "SELECT DISTINCT key FROM metrics")]
    curves: defaultdict[str, dict[str, Curve]] = defaultdict(dict)
    for key in keys:
        whole = is_called(key, "loss") or "lr" in key.lower() or "learning" in key.lower()
        order = "ORDER BY step, timestamp" if whole else "GROUP BY run_uuid HAVING step = MAX(step)"
        points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        query = f"SELECT run_uuid, step, value, is_nan FROM metrics WHERE key = ? {order}"
        for run, step, value, is_nan in rows(connection, query, (key,)):
            points[run].append((float(step or 0), _stored(value, is_nan)))
        for run, pairs in points.items():
            curves[run][f"metrics.{key}"] = _ordered(pairs)
    return curves


def _stored(value: Any, is_nan: Any) -> float:
    if is_nan or value is None:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= LARGEST else float(value)


def _source(named: Sequence[Named], name: str) -> Source:
    if not named:
        raise ForescaleError(f"the MLflow store {name} has no runs that are not deleted: give the store that has them.")
    several = sorted({experiment for experiment, _ in named})
    notes = (f"runs of {len(several)} MLflow experiments are read together: {', '.join(several)}",)
    runs = [
        Run(
            name=run.name,
            settings={"experiment": experiment, **run.settings},
            curves=run.curves,
            state=run.state,
        )
        for experiment, run in named
    ]
    return source_of(runs, name, notes=notes if len(several) > 1 else ())
