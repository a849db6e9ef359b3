"""Weights & Biases: the runs table as CSV, what its API returns as JSON or a data frame, a chart's CSV, local run folders.

Seen: the layouts of wandb 0.31 and those that its documentation shows.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forescale.runs._readers._files import as_dict, as_list, read_json, read_yaml
from forescale.runs._readers._source import Curve, Run, Source, flatten, number, source_of
from forescale.runs._readers._wandb_log import is_log, read_log

SUMMARY = ("summary", "summary_metrics", "summaryMetrics", "_summary")
NAMES = ("name", "display_name", "displayName", "id", "run_id")
STEPS = ("_step", "step", "global_step", "train/global_step", "trainer/global_step")
CHART = re.compile(r"(?P<run>.+) - (?P<metric>.+?)(?P<kind>__MIN|__MAX)?", re.DOTALL)
FILES = ("config.yaml", "wandb-summary.json")
LONGEST_CELL = 1_000_000
CHART_HINT = (
    "this is a chart's export, which has curves and no settings: export the table of runs instead (in the project's "
    "table view), or give what is alike in every run"
)


def is_table(header: Sequence[str]) -> bool:
    """Whether a CSV header is that of a runs table."""
    return "State" in header and bool({"Name", "ID"} & set(header))


def is_chart(header: Sequence[str]) -> bool:
    """Whether a CSV header is that of a chart: its x-axis, then columns such as `run - train/loss__MIN`."""
    matched = [CHART.fullmatch(column) for column in header[1:]]
    return bool(matched) and all(matched) and any(m and m["kind"] for m in matched)


def read_chart(header: Sequence[str], columns: Sequence[Sequence[Any]], name: str) -> Source:
    """One run a curve's owner; the minima and maxima between the points are left aside."""
    steps = [number(value) for value in columns[0]]
    curves: dict[str, dict[str, Curve]] = {}
    for column, values in zip(header[1:], columns[1:], strict=True):
        match = CHART.fullmatch(column)
        if match and not match["kind"]:
            points = [(s, number(v)) for s, v in zip(steps, values, strict=True)]
            kept = [(s, v) for s, v in points if s is not None and v is not None]
            if kept:
                curves.setdefault(match["run"], {})[match["metric"]] = ([s for s, _ in kept], [v for _, v in kept])
    return source_of([Run(name=run, settings={}, curves=c) for run, c in curves.items()], name, hint=CHART_HINT)


def runs_in(data: Any) -> list[dict[str, Any]] | None:
    """The runs in what the API or a script on it wrote; None if it holds anything else."""
    if isinstance(data, list):
        nodes = [_node(each) for each in as_list(data)]  # type: ignore[reportUnknownArgumentType]
        return [n for n in nodes if n is not None] if nodes and all(n is not None for n in nodes) else None
    told = as_dict(data)
    if (node := _node(told)) is not None:
        return [node]
    for key in ("runs", "data", "project", "edges", "nodes"):
        if isinstance(told.get(key), (list, dict)) and (found := runs_in(told[key])) is not None:
            return found
    named = [{"name": name, **as_dict(each)} for name, each in told.items()]
    return runs_in(named) if named and _node(named[0]) is not None else None


def _node(value: Any) -> dict[str, Any] | None:
    """One run: an object with a config and a summary, perhaps inside a `node` of a page of results."""
    told = as_dict(value)
    if set(told) <= {"node", "cursor"} and "node" in told:
        return _node(told["node"])
    measured = any(key in told for key in (*SUMMARY, "history"))
    return told if "config" in told and measured else None


def read_runs_of_api(nodes: Iterable[Mapping[str, Any]], name: str) -> Source:
    """Runs as `runs_in` finds them."""
    return source_of([_api_run(node, at) for at, node in enumerate(nodes)], name)


def _api_run(node: Mapping[str, Any], at: int) -> Run:
    summary: Any = next((node[key] for key in SUMMARY if node.get(key) is not None), None)
    named = next((node[key] for key in NAMES if node.get(key)), f"run {at + 1}")
    state = node.get("state")
    return Run(
        name=str(named),
        settings=_config(parse_cell(node.get("config"))),
        results=_summary(parse_cell(summary)),
        curves=_history(node.get("history")),
        state=str(state) if state else None,
    )


def parse_cell(value: Any) -> dict[str, Any]:
    """A mapping that may be written as JSON or, by a data frame's `to_csv`, as Python; {} for anything else."""
    if not isinstance(value, str):
        return as_dict(value)
    try:
        data: Any = json.loads(value)
    except (ValueError, RecursionError):
        data = _literal(value)
    return as_dict(data)


class _Constants(ast.NodeTransformer):
    """Python writes NaN and infinity as names."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = {"nan": math.nan, "inf": math.inf, "NaN": math.nan, "Infinity": math.inf}
        return ast.copy_location(ast.Constant(known.get(node.id)), node)


def _literal(text: str) -> Any:
    if len(text) > LONGEST_CELL:
        return None
    try:
        return ast.literal_eval(_Constants().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{key: {"value": ..., "desc": ...}}` or plain, without what W&B keeps for itself."""
    plain = {key: _unwrapped(value) for key, value in values.items() if key not in ("_wandb", "wandb_version")}
    return flatten(plain, "config.")


def _unwrapped(value: Any) -> Any:
    told = as_dict(value)
    return told["value"] if "value" in told and set(told) <= {"value", "desc"} else value


def _summary(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten({key: value for key, value in values.items() if key != "_wandb"}, "summary.")
    return {key: _measured(value) for key, value in flat.items()}


def _measured(value: Any) -> Any:
    found = number(value) if value in ("NaN", "Infinity", "-Infinity") else None
    return value if found is None else found


def _history(rows: Any) -> dict[str, Curve]:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for told in map(as_dict, as_list(rows)):
        step = next((number(told[key]) for key in STEPS if key in told), None)
        for key, raw in told.items():
            value = number(raw)
            if value is not None and not key.startswith("_") and key not in STEPS:
                steps, values = curves.setdefault(f"summary.{key}", ([], []))
                steps.append(step if step is not None else float(len(steps)))
                values.append(value)
    return dict(curves)


def find_folders(files: Iterable[Path]) -> list[Path]:
    """The local run folders among a folder's files."""
    told = {path.parent.parent for path in files if path.parent.name == "files" and path.name in FILES}
    return sorted(told | {path.parent for path in files if path.suffix == ".wandb"})


def read_folders(folders: Sequence[Path], name: str) -> Source:
    """Runs from their folders: files/config.yaml and files/wandb-summary.json, else the log that an offline run keeps."""
    return source_of([_folder_run(folder) for folder in folders], name)


def _folder_run(folder: Path) -> Run:
    config, summary = (folder / "files" / name for name in FILES)
    logs = sorted(path for path in folder.glob("*.wandb") if not path.is_symlink())
    needed = not (config.is_file() and summary.is_file())
    logged = read_log(logs[0]) if logs and (needed or is_log(logs[0])) else None
    settings = read_yaml(config) if config.is_file() else logged.config if logged else {}
    results = read_json(summary) if summary.is_file() else logged.summary if logged else {}
    return Run(
        name=(logged.name if logged else "") or folder.name.rsplit("-", 1)[-1],
        settings=_config(settings),
        results=_summary(as_dict(results)),
        curves=_history(logged.history) if logged else {},
        state=_folder_state(logged.exit_code if logged else None, bool(logged), summary.is_file()),
    )


def _folder_state(exit_code: int | None, logged: bool, summed: bool) -> str:
    """A run that ended wrote its exit code into its log; without a log the summary, written at the end, stands for it."""
    if exit_code is not None:
        return "finished" if exit_code == 0 else "failed"
    return "finished" if summed and not logged else "crashed"


def cells_of(header: Sequence[str]) -> Iterator[str]:
    """The columns of a data frame on the API's runs that hold mappings: `config` and `summary`."""
    if "config" in header and "summary" in header:
        yield from ("config", "summary")
