"""Optuna studies: the SQLite file and the journal file, read without Optuna.

Optuna itself opens a storage for writing, upgrades nothing by itself but refuses a schema of another version, and brings
SQLAlchemy along; the tables have kept their names since version 3.0, and the tests compare with `optuna.load_study`.
Seen: schemas of Optuna 3 to 5.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.runs._readers._files import as_dict, as_list, read_json_lines
from forescale.runs._readers._source import Run, Source, flatten, source_of
from forescale.runs._readers._sqlite import read_only, rows, tables

TABLES = frozenset({"studies", "trials", "trial_params", "trial_values"})
STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")
MAXIMIZE = ("MAXIMIZE", 2)
WRITTEN = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


@dataclass(kw_only=True)
class Trial:
    """One trial as either storage tells it."""

    number: int
    state: str
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    values: dict[int, float] = field(default_factory=dict[int, float])
    intermediate: dict[float, float] = field(default_factory=dict[float, float])


def read_database(path: Path, part: str | None) -> Source:
    """The trials of one study of an SQLite storage; `part` names it where there are several."""
    with read_only(path) as connection:
        studies = {str(name): study for study, name in rows(connection, "SELECT study_id, study_name FROM studies")}
        study = studies[_one(list(studies), part, path)]
        return _source(_database_trials(connection, study), _database_directions(connection, study), path.name)


def _one(studies: Sequence[str], part: str | None, path: Path) -> str:
    if part is not None and part not in studies:
        raise UnknownNameError(f"{path} has no study {part!r}; it has {', '.join(studies) or 'none'}.")
    if part is None and len(studies) != 1:
        listed = ", ".join(studies) or "none"
        example = f": say which as {path.name}::{studies[0]}" if studies else ": run the study first"
        raise ForescaleError(f"{path} must have one Optuna study; it has {len(studies)} ({listed}){example}.")
    return studies[0] if part is None else part


def _database_directions(connection: sqlite3.Connection, study: int) -> list[Any]:
    has = tables(connection)
    if "study_directions" in has:
        query = "SELECT direction FROM study_directions WHERE study_id = ? ORDER BY objective"
        return [row[0] for row in rows(connection, query, (study,))]
    return [row[0] for row in rows(connection, "SELECT direction FROM studies WHERE study_id = ?", (study,))]


def _database_trials(connection: sqlite3.Connection, study: int) -> list[Trial]:
    has = tables(connection)
    query = "SELECT trial_id, number, state FROM trials WHERE study_id = ? ORDER BY number"
    trials = {row[0]: Trial(number=row[1], state=str(row[2])) for row in rows(connection, query, (study,))}
    of_study = "trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)"

    def each(columns: str, table: str) -> list[tuple[Any, ...]]:
        order = "trial_id" if table != "trial_intermediate_values" else "trial_id, step"
        return rows(connection, f"SELECT trial_id, {columns} FROM {table} WHERE {of_study} ORDER BY {order}", (study,))

    for trial, name, value, distribution in each("param_name, param_value, distribution_json", "trial_params"):
        trials[trial].params[str(name)] = _external(value, distribution)
    kind = "value_type" if "value_type" in has["trial_values"] else "'FINITE'"
    for trial, objective, value, written in each(f"objective, value, {kind}", "trial_values"):
        trials[trial].values[int(objective)] = WRITTEN.get(written, math.nan if value is None else float(value))
    if "trial_user_attributes" in has:
        for trial, key, text in each("key, value_json", "trial_user_attributes"):
            trials[trial].attributes[str(key)] = _parsed(text)
    if "trial_intermediate_values" in has:
        kinds = has["trial_intermediate_values"]
        kind = "intermediate_value_type" if "intermediate_value_type" in kinds else "'FINITE'"
        for trial, step, value, written in each(f"step, intermediate_value, {kind}", "trial_intermediate_values"):
            trials[trial].intermediate[step] = WRITTEN.get(written, math.nan if value is None else value)
    return list(trials.values())


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


def _external(value: Any, distribution: Any) -> Any:
    """What was suggested: a choice is stored by its place among the choices."""
    told = as_dict(_parsed(distribution) if isinstance(distribution, str) else distribution)
    choices = as_list(as_dict(told.get("attributes")).get("choices"))
    if not choices:
        return int(value) if str(told.get("name", "")).startswith("Int") else value
    return choices[int(value)] if 0 <= int(value) < len(choices) else None


def is_journal(path: Path) -> bool:
    """Whether a file's first line is an operation of Optuna's journal."""
    with path.open("rb") as file:
        start = file.readline(1_000_000)
    return "op_code" in as_dict(_parsed(start.decode("utf-8", errors="replace")))


def read_journal(path: Path, part: str | None) -> Source:
    """The trials of one study of a journal file: its operations replayed."""
    journal = _Journal()
    try:
        for operation in read_json_lines(path):
            journal.replay(as_dict(operation))
    except (KeyError, IndexError, TypeError) as error:
        raise ForescaleError(f"{path} is not a journal of Optuna: an operation lacks {error}.") from None
    study = _one([name for name in journal.names if name is not None], part, path)
    at = journal.names.index(study)
    return _source([t for s, t in journal.trials if s == at], journal.directions[at], path.name)


class _Journal:
    """Studies and trials in the order of their creation, which numbers them."""

    def __init__(self) -> None:
        self.names: list[str | None] = []  # None: deleted
        self.directions: list[list[Any]] = []
        self.trials: list[tuple[int, Trial]] = []
        self.counts: Counter[int] = Counter()

    def replay(self, operation: dict[str, Any]) -> None:
        code = operation.get("op_code")
        if code == 0 and operation.get("study_name") not in self.names:
            self.names.append(str(operation.get("study_name")))
            self.directions.append(list(operation.get("directions", [])))
        elif code == 1:
            self.names[operation["study_id"]] = None
        elif code == 4:
            self._create(operation)
        elif code in (5, 6, 7, 8):
            at: int = operation["trial_id"]
            self._change(code, operation, self.trials[at][1])

    def _create(self, operation: dict[str, Any]) -> None:
        study = int(operation["study_id"])
        state: int = operation.get("state", 0)
        trial = Trial(number=self.counts[study], state=STATES[state])
        self.counts[study] += 1
        distributions = as_dict(operation.get("distributions"))
        for name, value in as_dict(operation.get("params")).items():
            trial.params[name] = _external(value, distributions.get(name))
        trial.attributes |= as_dict(operation.get("user_attrs"))
        trial.intermediate |= {float(k): v for k, v in as_dict(operation.get("intermediate_values")).items()}
        one = [] if operation.get("value") is None else [operation["value"]]
        trial.values |= dict(enumerate(as_list(operation.get("values")) or one))
        self.trials.append((study, trial))

    def _change(self, code: int, operation: dict[str, Any], trial: Trial) -> None:
        if code == 5:
            value = _external(operation["param_value_internal"], operation.get("distribution"))
            trial.params[operation["param_name"]] = value
        elif code == 6:
            trial.state = STATES[operation["state"]]
            trial.values |= dict(enumerate(as_list(operation.get("values"))))
        elif code == 7:
            value = operation["intermediate_value"]
            trial.intermediate[float(operation["step"])] = math.nan if value is None else float(value)
        else:
            trial.attributes |= as_dict(operation["user_attr"])


def _source(trials: Sequence[Trial], directions: Sequence[Any], name: str) -> Source:
    if not trials:
        raise ForescaleError(f"the Optuna study in {name} has no trials: run it first.")
    loss, hint = _objective(directions)
    return source_of([_run(trial, len(directions)) for trial in trials], name, columns=loss, hint=hint)


def _objective(directions: Sequence[Any]) -> tuple[dict[str, str], str]:
    """Which column is the loss, or why none is: one objective that is minimised is taken for it."""
    if len(directions) > 1:
        return {}, "the study has several objectives, value_0, value_1, ...: the loss is one of them or an attribute"
    if directions and directions[0] in MAXIMIZE:
        return {}, "the study maximises its objective (column 'value'), which a loss cannot be"
    return {"loss": "value"}, ""


def _run(trial: Trial, objectives: int) -> Run:
    names = {i: f"value_{i}" for i in trial.values} if objectives > 1 else {0: "value"}
    results = {names[i]: value for i, value in trial.values.items() if i in names}
    last = trial.intermediate[max(trial.intermediate)] if trial.intermediate else 0.0
    if "value" in names.values() and not results and not math.isfinite(last):
        results["value"] = math.nan  # Optuna fails a trial whose objective is NaN: it diverged
    settings = flatten(trial.params, "params.") | flatten(trial.attributes, "user_attrs.")
    if trial.intermediate:
        results["intermediate_values"] = trial.intermediate[max(trial.intermediate)]
    return Run(
        name=f"trial {trial.number}", settings={"number": trial.number, **settings}, results=results, state=trial.state
    )


def unprefixed(header: Sequence[str]) -> Mapping[str, str]:
    """New names for a table that `study.trials_dataframe()` wrote: `params.lr` for `params_lr`; {} for any other."""
    if not {"number", "state"} <= set(header) or not any(column.startswith("params_") for column in header):
        return {}
    return {
        column: f"{prefix}.{column.removeprefix(prefix + '_')}"
        for column in header
        for prefix in ("params", "user_attrs", "system_attrs")
        if column.startswith(prefix + "_")
    }
