"""Ray Tune results: trial folders with params.json and result.json or progress.csv. Seen: ray 2.60; never a pickle."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forescale.runs._columns import is_called
from forescale.runs._readers._files import as_dict, as_list, read_json, read_json_lines, read_text
from forescale.runs._readers._short import mark_short
from forescale.runs._readers._source import Curve, Run, Source, flatten, number, source_of

LOGS = ("result.json", "progress.csv")


def find_folders(files: Sequence[Path]) -> list[Path]:
    """The trial folders among a folder's files."""
    configured = {path.parent for path in files if path.name == "params.json"}
    logged = {path.parent for path in files if path.name in LOGS}
    told = {path.parent for path in files if path.name == "result.json" and _is_report(path)}
    return sorted(configured & logged | told)


def _is_report(path: Path) -> bool:
    """Whether a result.json is Ray's, whose reports repeat the configuration."""
    with path.open("rb") as file:
        start = file.readline(1_000_000)
    return b'"training_iteration"' in start and b'"config"' in start


def read_folders(folders: Sequence[Path], name: str) -> Source:
    """One run a trial: its configuration, its last report, and the curves of its losses."""
    states = _states(folders)
    return source_of(mark_short([_run(folder, states) for folder in folders], "training_iteration"), name)


def _run(folder: Path, states: Mapping[str, str]) -> Run:
    reports = _reports(folder)
    last = reports[-1] if reports else {}
    given = folder / "params.json"
    settings = flatten(as_dict(read_json(given)), "config/", "/") if given.is_file() else {}
    settings |= {key: value for key, value in last.items() if key.startswith("config/")}
    results = {key: value for key, value in last.items() if not key.startswith("config/")}
    trial = str(last.get("trial_id") or folder.name)
    failed = any((folder / file).exists() for file in ("error.txt", "error.pkl"))
    return Run(
        name=trial,
        settings=settings,
        results={key: _value(value) for key, value in results.items()},
        curves=_curves(reports),
        state="ERROR" if failed else states.get(trial, "TERMINATED"),
    )


def _value(value: Any) -> Any:
    found = number(value)
    return value if found is None else found


def _reports(folder: Path) -> list[dict[str, Any]]:
    """The reports in order, nested metrics as `outer/inner`; result.json where it holds any, else progress.csv."""
    log = folder / "result.json"
    if log.is_file():
        made = [flatten(as_dict(report), "", "/") for report in read_json_lines(log)]
        if made:
            return made
    table = folder / "progress.csv"
    return [dict(row) for row in csv.DictReader(read_text(table).splitlines())] if table.is_file() else []


def _curves(reports: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    keys = dict.fromkeys(key for report in reports for key in report if is_called(key, "loss"))
    curves: dict[str, Curve] = {}
    for key in keys:
        values = [(at, number(report[key])) for at, report in enumerate(reports) if key in report]
        curves[key] = ([float(at) for at, v in values if v is not None], [v for _, v in values if v is not None])
    return {key: curve for key, curve in curves.items() if curve[0]}


def _states(folders: Sequence[Path]) -> dict[str, str]:
    """Trial states as the newest experiment_state file beside the trials tells them; {} if none can be read."""
    states: dict[str, str] = {}
    for parent in sorted({folder.parent for folder in folders}):
        snapshots = sorted(parent.glob("experiment_state-*.json"))
        data = read_json(snapshots[-1]) if snapshots and not snapshots[-1].is_symlink() else None
        for trial in as_list(as_dict(data).get("trial_data")):
            told = _told((as_list(trial) or [trial])[0])
            if "trial_id" in told and "status" in told:
                states[str(told["trial_id"])] = str(told["status"])
    return states


def _told(trial: Any) -> dict[str, Any]:
    try:
        return as_dict(json.loads(trial) if isinstance(trial, str) else trial)
    except (ValueError, RecursionError):
        return {}
