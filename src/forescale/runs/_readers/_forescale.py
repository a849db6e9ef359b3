"""Runs of this package's own trainer: folders with a result.json, or a config.json alone where a run has not finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forescale.runs._readers._files import as_dict, read_json
from forescale.runs._readers._source import Run, Source, flatten, source_of

RESULT, CONFIG = "result.json", "config.json"
KIND = "forescale-train"
MARK = f'"{KIND}"'.encode()
HEAD = 1024  # bytes in which the kind stands
# Of a result: what stays out of the table, because another column says it or no fit can use it.
LEFT_OUT = frozenset(
    {
        *("schema_version", "kind", "state", "diverged", "diverged_at", "loss", "train_loss", "batch_sequences"),
        "total_params",
        *("planned_steps", "planned_tokens", "corpus", "machine", "versions", "notes"),
    }
)
# Of a run that has not finished: it is counted, and left out.
OF_CONFIG = (
    *("params", "active_params", "tokens", "batch_tokens", "learning_rate", "weight_decay", "seq_len", "steps", "seed"),
)


def is_result(data: Any) -> bool:
    """Whether a JSON value is the result of a training run."""
    return as_dict(data).get("kind") == KIND


def find_folders(files: Sequence[Path]) -> list[Path]:
    """The folders of runs among a folder's files."""
    return sorted({path.parent for path in files if path.name in (RESULT, CONFIG) and _is_ours(path)})


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK in file.read(HEAD)


def read_folders(folders: Sequence[Path], name: str) -> Source:
    """One row a run."""
    runs = [_run(folder) for folder in folders]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # folders of one name in several places
        runs = [_run(folder, str(folder)) for folder in folders]
    return source_of(runs, name)


def read_result(path: Path) -> Source:
    """The run of one result.json."""
    return read_folders([path.parent], path.parent.resolve().name)


def _run(folder: Path, name: str | None = None) -> Run:
    label = name or folder.resolve().name
    path = folder / RESULT
    if path.is_file() and is_result(found := read_json(path)):
        return _finished(as_dict(found), label)
    written = as_dict(read_json(folder / CONFIG))
    known = {**flatten(as_dict(written.get("config"))), **written}
    kept = {key: known[key] for key in OF_CONFIG if key in known}
    return Run(name=label, settings=kept, results={"loss": None}, state="stopped")


def _finished(result: Mapping[str, Any], label: str) -> Run:
    """A run that diverged belongs to the workload that it was meant for, not to the tokens that it reached."""
    diverged = result.get("diverged") is True
    settings = {key: value for key, value in result.items() if key not in LEFT_OUT and not isinstance(value, dict)}
    if diverged:
        settings |= {"steps": result.get("planned_steps"), "tokens": result.get("planned_tokens")}
    state = "finished" if diverged else str(result.get("state"))
    return Run(
        name=label, settings=settings, results={"loss": math.nan if diverged else result.get("loss")}, state=state
    )
