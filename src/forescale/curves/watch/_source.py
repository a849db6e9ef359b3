"""What a run logged, whoever logged it: records in the order of the file, and settings that stand beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forescale.curves.watch._lines import Lines, Record
from forescale.errors import ForescaleError

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl.gz")
PRINTED = (".log", ".txt", ".out", ".err", ".log.gz", ".txt.gz")
OURS = "metrics.jsonl"
HEAD = 1000  # records that tell whether a file is a log
ARGUMENTS = ("config.json", "training_args.json", "args.json", "hparams.yaml", "config.yaml")
SOUGHT = (
    "the metrics.jsonl of `forescale train`, other JSON lines, a CSV file, a Hugging Face trainer_state.json, a W&B export or "
    "run folder, TensorBoard event files, a printed .log, .txt or .out"
)


@dataclass(frozen=True, kw_only=True)
class Logged:
    """Records by the source's own names, and settings by theirs, flat."""

    name: str
    records: Sequence[Record]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cut: bool = False  # the last line is half a record
    bad: int = 0  # lines that could not be read
    silent: bool = False  # there are lines, and none is a record


Reader = Callable[[], Logged]


def open_source(path: Path) -> Reader:
    """A function that reads the log as it is now; `ForescaleError` where nothing that is known lies there."""
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise ForescaleError(f"the log to watch must exist; {path} does not: name a file or folder with {SOUGHT}.")
    if "tfevents" in path.name:
        return lambda: _tensorboard([path], path.parent)
    if path.suffix == ".wandb":
        return lambda: _wandb_folder(path.parent)
    if path.suffix == ".json":
        return lambda: _json(path)
    if path.name.lower().endswith((*TABLES, *PRINTED)):
        return _lines(path)
    raise ForescaleError(f"a log is told by its name; got {path}: looked for {SOUGHT}.")


def _folder(folder: Path) -> Reader:
    from forescale.runs._readers import _tensorboard as events
    from forescale.runs._readers import _trainer_state, _wandb
    from forescale.runs._readers._files import files_below

    if (folder / OURS).is_file():
        return _lines(folder / OURS)
    files = list(files_below(folder))
    if any(file.name == _trainer_state.NAME for file in files):
        return lambda: _json(_one(_trainer_state.find_files(files_below(folder)), folder))
    if found := _wandb.find_folders(files):
        return lambda: _wandb_folder(_one(found, folder))
    if events.find_files(files):
        return lambda: _tensorboard(events.find_files(files_below(folder)), folder)
    for suffixes in (TABLES, PRINTED):
        if logs := [file for file in files if file.name.lower().endswith(suffixes) and _holds_losses(file)]:
            return _lines(_one(logs, folder))
    raise ForescaleError(f"the folder {folder} holds no log that is known: looked for {SOUGHT}.")


def _holds_losses(file: Path) -> bool:
    """Whether a record among the first of a file has a loss."""
    from forescale.runs._columns import is_called

    lines = Lines(path=file)
    with suppress(ForescaleError):
        lines.poll()
    return any(is_called(key, "loss") for record in lines.records[:HEAD] for key in record)


def _one(found: Sequence[Path], folder: Path) -> Path:
    if len(found) > 1:
        shown = ", ".join(str(path.relative_to(folder.resolve())) for path in found[:3])
        raise ForescaleError(
            f"one run is watched at a time; {folder} holds {len(found)} ({shown}, …): name one of them."
        )
    return found[0]


def _lines(path: Path) -> Reader:
    lines = Lines(path=path)

    def read() -> Logged:
        lines.poll()
        return Logged(
            name=path.parent.resolve().name if path.name == OURS else path.name,
            records=_of_panel(lines.all_records(), path.name),
            settings=_beside(path.parent),
            cut=lines.cut,
            bad=lines.bad,
            silent=lines.is_text and not lines.records and lines.size > 0,
        )

    return read


def _of_panel(records: list[Record], name: str) -> list[Record]:
    """Records by the metrics' own names: the CSV of a W&B panel calls them `run - metric`, and adds `__MIN` and `__MAX`."""
    heading = list(records[0]) if records else []
    if not any(key.endswith("__MIN") for key in heading):
        return records
    names = {key: key.rsplit(" - ", 1)[-1] for key in heading if not key.endswith(("__MIN", "__MAX"))}
    runs = sorted({key.rsplit(" - ", 1)[0] for key in names if " - " in key})
    if len(runs) > 1:
        raise ForescaleError(
            f"one run is watched at a time; {name} holds {len(runs)} ({', '.join(runs[:3])}): export one."
        )
    return [{names[key]: value for key, value in record.items() if key in names} for record in records]


def _json(path: Path) -> Logged:
    from forescale.runs._readers._files import as_dict, as_list, read_json
    from forescale.runs._readers._trainer_state import run_folder
    from forescale.runs._readers._wandb import runs_in

    data = read_json(path)
    if isinstance(history := as_dict(data).get("log_history"), list):
        told = {"max_steps": as_dict(data).get("max_steps")}
        settings = {**_beside(run_folder(path)), **_beside(path.parent), **told}
        rows = [_hidden(as_dict(row)) for row in as_list(history)]
        return Logged(name=run_folder(path).resolve().name, records=rows, settings=settings)
    if nodes := runs_in(data):
        if len(nodes) > 1:
            raise ForescaleError(f"one run is watched at a time; {path} holds {len(nodes)}: export one.")
        node = nodes[0]
        return Logged(
            name=str(node.get("name") or path.name),
            records=[as_dict(row) for row in as_list(node.get("history"))],
            settings=_flat(as_dict(node.get("config"))),
        )
    if isinstance(data, list):
        return Logged(name=path.name, records=[as_dict(row) for row in as_list(data)], settings=_beside(path.parent))
    raise ForescaleError(f"{path} is JSON without a log_history, a history or a list of records: looked for {SOUGHT}.")


def _hidden(row: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face writes a NaN loss as 0 beside a gradient norm that is NaN."""
    from forescale.runs._readers._trainer_state import _hidden_nan  # pyright: ignore[reportPrivateUsage]

    return {**row, "loss": "nan"} if row.get("loss") == 0 and "grad_norm" in row and _hidden_nan(row, 0.0) else row


def _wandb_folder(folder: Path) -> Logged:
    from forescale.runs._readers._files import as_dict, read_yaml
    from forescale.runs._readers._wandb_log import read_log

    logs = sorted(folder.glob("*.wandb"))
    if not logs:
        raise ForescaleError(f"{folder} keeps no history (run-ID.wandb): export the run's history instead.")
    logged, config = read_log(logs[0]), folder / "files" / "config.yaml"
    settings = _flat(as_dict(read_yaml(config))) if config.is_file() else _flat(logged.config)
    return Logged(name=logged.name or folder.name, records=logged.history, settings=settings)


def _tensorboard(files: Sequence[Path], root: Path) -> Logged:
    from forescale.runs._readers._tensorboard import _by_run, _run  # pyright: ignore[reportPrivateUsage]

    base = root.resolve()
    runs = _by_run([file.resolve() for file in files], base)
    folder = _one(list(runs), root)
    run = _run(folder, runs[folder], base)
    rows: dict[float, dict[str, Any]] = {}
    for tag, (steps, values) in run.curves.items():
        for step, value in zip(steps, values, strict=True):
            rows.setdefault(step, {"step": step})[tag] = value if value == value else "nan"
    return Logged(name=run.name, records=[rows[step] for step in sorted(rows)], settings=run.settings)


def _beside(folder: Path) -> dict[str, Any]:
    from forescale.runs._readers._files import settings_file

    found: dict[str, Any] = {}
    for name in ARGUMENTS:
        for values in settings_file(folder, (name,)).values():
            found = {**_flat(values), **found}
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings under `outer.inner` keys; W&B's `{value: ...}` is unwrapped."""
    from forescale.runs._readers._source import flatten

    return {key.removesuffix(".value"): value for key, value in flatten(values).items()}
