"""Hugging Face trainers: trainer_state.json, and the configuration files beside it. Seen: transformers 4 and 5."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.runs._readers._files import as_dict, read_json, settings_file
from forescale.runs._readers._source import Curve, Run, Source, flatten, number, source_of

NAME = "trainer_state.json"
ARGUMENTS = ("training_args.json", "args.json", "training_args.yaml", "hparams.yaml", "hparams.json", "config.yaml")
LOGGED = re.compile(r"loss|learning_rate|eval_(.+_)?loss")
CHECKPOINT = re.compile(r"checkpoint-\d+")
HINT = "of a Hugging Face run, parameters are read from a config.json beside it and arguments from a training_args.json"


def find_files(files: Iterable[Path]) -> list[Path]:
    """One trainer_state.json a run: the one with the most steps, of a run's own folder and its checkpoints."""
    best: dict[tuple[Path, str], tuple[float, int, Path]] = {}
    for path in files:
        if path.name.endswith(NAME):
            run = (run_folder(path), path.name)
            steps = number(_state(path).get("global_step")) or 0.0
            best[run] = max(best.get(run, (-1.0, 0, path)), (steps, -len(path.parts), path))
    return [best[run][2] for run in sorted(best)]


def run_folder(path: Path) -> Path:
    """The folder of a run: that of the file, or the one that holds the checkpoint."""
    folder = path.parent
    return folder.parent if CHECKPOINT.fullmatch(folder.name) else folder


def read_files(paths: Sequence[Path], name: str) -> Source:
    """One run a file."""
    return source_of([_run(path) for path in paths], name, columns={"steps": "global_step"}, hint=HINT)


def _state(path: Path) -> dict[str, Any]:
    state = as_dict(read_json(path))
    if not isinstance(state.get("log_history"), list):
        raise ForescaleError(f"{path} has no log_history: give the trainer_state.json that a Trainer wrote.")
    return state


def _run(path: Path) -> Run:
    state = _state(path)
    logs = [as_dict(row) for row in state["log_history"]]
    settings = _beside(path)
    return Run(
        name=run_folder(path).name if path.name == NAME else path.stem,
        settings=flatten(as_dict(state.get("trial_params")), "hparams.") | settings,
        results=_results(state, settings),
        curves={key: curve for key, curve in _curves(logs).items() if curve[0]},
    )


def _beside(path: Path) -> dict[str, Any]:
    """Settings from the files in the checkpoint's folder and the run's; the pickled training_args.bin stays shut."""
    settings: dict[str, Any] = {}
    for folder in dict.fromkeys((path.parent, run_folder(path))):
        found = {**settings_file(folder, ("config.json",)), **settings_file(folder, ARGUMENTS)}
        for stem, values in found.items():
            prefix = "config." if stem == "config" else "args."
            settings = {**flatten(values, prefix), **settings}
    return settings


def _results(state: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    steps = number(state.get("global_step")) or 0.0
    tokens = _tokens(state)
    results: dict[str, Any] = {"global_step": steps, "max_steps": number(state.get("max_steps"))}
    if tokens and steps:
        results |= {"num_input_tokens_seen": tokens, "tokens_per_step": tokens / steps}
    elif state.get("train_batch_size") and "args.per_device_train_batch_size" not in settings:
        results["per_device_train_batch_size"] = number(state["train_batch_size"])
    return {key: value for key, value in results.items() if value is not None}


def _tokens(state: Mapping[str, Any]) -> float:
    """Tokens that the trainer counted, 0 where it was not asked to."""
    logged = [number(as_dict(row).get("num_input_tokens_seen")) for row in state["log_history"]]
    return max((number(state.get("num_input_tokens_seen")) or 0.0), *(n for n in logged if n), 0.0)


def _curves(logs: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Losses and learning rates by step. The last row's train_loss is the run's average and no point of a curve."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in logs:
        for key in (key for key in row if LOGGED.fullmatch(key)):
            value, step = number(row[key]), number(row.get("step"))
            if value is not None:
                steps, values = curves.setdefault("lr_logged" if key == "learning_rate" else key, ([], []))
                steps.append(step if step is not None else float(len(steps) + 1))
                values.append(math.nan if key == "loss" and _hidden_nan(row, value) else value)
    return {key: (steps, values) for key, (steps, values) in curves.items()}


def _hidden_nan(row: Mapping[str, Any], value: float) -> bool:
    """The trainer writes a NaN loss as the mean of those before, which is 0 when all are NaN; the gradient shows it."""
    norm = number(row.get("grad_norm"))
    return value == 0.0 and (norm is None or not math.isfinite(norm))
