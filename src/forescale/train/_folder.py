"""A run's folder: whose it is, what it holds, and that one process writes to it at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from forescale.errors import ForescaleError
from forescale.train._config import TrainConfig
from forescale.train._config_json import config_from_json, config_to_json, differences, identity
from forescale.train._files import write_json

CONFIG, RESULT, METRICS, CHECKPOINTS, LOCK = "config.json", "result.json", "metrics.jsonl", "checkpoints", ".lock"
KIND = "forescale-train"  # how a reader knows the files
OWN = (LOCK, f"{CONFIG}.partial")  # what a process that was killed at once leaves
MOST = 6  # differences that a message lists


class FolderHeldError(ForescaleError):
    """Another process trains in the folder, or has not let go of it yet."""


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run wrote when it started: its config and its data; None where no run has."""
    try:
        written: Any = json.loads((folder / CONFIG).read_text("utf-8"))
        return {"config": dict(written["config"]), "corpus": dict(written["corpus"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForescaleError(f"{folder / CONFIG} is no training run's ({error!r}): name another folder.") from None


def check_free(folder: Path, *, resume: bool) -> None:
    """Raise `ForescaleError` for a folder that another run or other files are in; before any data are read."""
    if folder.exists() and not folder.is_dir():
        raise ForescaleError(f"{folder} must be a folder; it is a file: name another --out.")
    found = read_config(folder)
    if found is not None and not resume:
        if (folder / RESULT).is_file():
            raise ForescaleError(
                f"{folder} holds the result of a run: name another --out, or look at it with --resume."
            )
        raise ForescaleError(f"{folder} holds a run that has not finished: go on with --resume, or name another --out.")
    if found is None and folder.is_dir() and (others := [p.name for p in folder.iterdir() if p.name not in OWN]):
        raise ForescaleError(
            f"the folder of a run must be new or empty; {folder} holds {', '.join(sorted(others)[:3])}: name another --out."
        )


def claim(folder: Path, config: TrainConfig, corpus: Mapping[str, Any], *, resume: bool) -> None:
    """Write the config into a new folder, or check that the run in it is this one."""
    found = read_config(folder) if resume else None
    if found is not None:
        _check_same(folder, found, config, corpus)
        return
    row = {name: getattr(config, name) for name in ("params", "active_params", "tokens", "batch_tokens")}
    write_json(folder / CONFIG, {"kind": KIND, **row, "config": config_to_json(config), "corpus": dict(corpus)})


def _check_same(folder: Path, found: Mapping[str, Any], config: TrainConfig, corpus: Mapping[str, Any]) -> None:
    old, new = identity(config_from_json(found["config"])), identity(config)
    # The data are told by what is in them: a file may have moved.
    changes = [f"{key} was {_text(a)}, now {_text(b)}" for key, a, b in differences(old, new) if key != "data"]
    if found["corpus"].get("fingerprint") != corpus.get("fingerprint"):
        changes.append(_other_data(found["corpus"].get("sources"), corpus.get("sources")))
    if changes:
        said = "; ".join(changes[:MOST])
        more = f" and {len(changes) - MOST} more" if len(changes) > MOST else ""
        raise ForescaleError(
            f"a run is resumed with its own config; in {folder} {said}{more}: give the old values, or name another --out."
        )


def _other_data(old: Any, new: Any) -> str:
    return f"the content of the data {_text(new)} differs" if old == new else f"data was {_text(old)}, now {_text(new)}"


def _text(value: Any) -> str:
    return json.dumps(value)[:80]


def lock(folder: Path) -> IO[str]:
    """Hold the folder until the process ends or the file is closed; raises `ForescaleError` if another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise ForescaleError(f"{folder} cannot be written: {error.strerror or error}: name another --out.") from None
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # no such locks on this system
    except BlockingIOError:
        file.close()
        raise FolderHeldError(f"another process is training in {folder}: wait for it or name another --out.") from None
    except OSError:
        pass  # the file system has none
    return file
