"""Small stores of one sweep as each tool writes it, by hand: layouts taken from stores that the tools wrote.

The sweep: two batches at three learning rates, losses planted; benchmarks/check_readers.py compares with the tools.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEQ_LEN, TOKENS, PARAMS = 2048, 2_600_000_000, 124_000_000
CONSTANTS = {"params": PARAMS, "tokens": TOKENS}


@dataclass(frozen=True)
class Planted:
    """One run: its settings, its final loss, and a curve that ends there."""

    lr: float
    batch: int
    loss: float
    state: str = "finished"

    def curve(self, rows: int = 60) -> list[float]:
        return [self.loss + 2 * math.exp(-8 * i / (rows - 1)) - 2 * math.exp(-8) for i in range(rows)]


SWEEP = tuple(
    Planted(lr, batch, round(3 + 0.1 * math.log(lr / 2e-3) ** 2 + 0.05 * math.log(batch / 96) ** 2, 6))
    for batch in (64, 128)
    for lr in (1e-3, 2e-3, 4e-3)
)
DIVERGED = Planted(3e-2, 64, math.nan)
CRASHED = Planted(5e-4, 64, 4.5, "crashed")


def write_json(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def settings(run: Planted) -> dict[str, Any]:
    return {"learning_rate": run.lr, "batch_size": run.batch, "seq_len": SEQ_LEN, "optimizer": {"weight_decay": 0.1}}


# Weights & Biases


def api_runs(runs: Iterable[Planted], *, wrapped: bool = False) -> list[dict[str, Any]]:
    def config(run: Planted) -> dict[str, Any]:
        plain = settings(run) | {"params": PARAMS, "tokens": TOKENS, "_wandb": {"cli_version": "0.31.0"}}
        return {key: {"value": value, "desc": None} for key, value in plain.items()} if wrapped else plain

    return [
        {
            "name": f"sweep-{i}",
            "id": f"a{i}",
            "state": run.state,
            "config": config(run),
            "summary": {"val/loss": run.loss if math.isfinite(run.loss) else "NaN", "lr": run.lr / 10, "_step": 59},
        }
        for i, run in enumerate(runs)
    ]


def runs_table(path: Path, runs: Iterable[Planted]) -> Path:
    """The table of runs as the page exports it: texts in quotes, empty where a run logged nothing."""
    header = "Name,State,Notes,User,Tags,Created,Runtime,Sweep,batch_size,learning_rate,model.params,seq_len,tokens,"
    lines = [header + "_step,train/learning_rate,val/loss"]
    for i, run in enumerate(runs):
        loss = "NaN" if math.isnan(run.loss) else run.loss
        told = ["sweep-" + str(i), run.state, "-", "someone", "", "2026-01-01T00:00:00.000Z", "100", ""]
        numbers = [run.batch, run.lr, PARAMS, SEQ_LEN, TOKENS, 59, run.lr / 10, loss]
        lines.append(",".join(f'"{value}"' for value in (*told, *numbers)))
    return write_text(path, "\n".join(lines) + "\n")


def chart(path: Path, runs: Sequence[Planted]) -> Path:
    """A chart's CSV: a step column, then three columns a run."""
    names = [f"sweep-{i} - train/loss" for i in range(len(runs))]
    header = ["Step", *(column for name in names for column in (name, f"{name}__MIN", f"{name}__MAX"))]
    lines = [",".join(f'"{column}"' for column in header)]
    for step in range(60):
        values = [run.curve()[step] for run in runs]
        lines.append(",".join(f'"{v}"' for v in (10 * step, *(x for value in values for x in (value,) * 3))))
    return write_text(path, "\n".join(lines) + "\n")


def online_folder(root: Path, at: int, run: Planted) -> None:
    """A run folder of a synced run: configuration and summary as files."""
    folder = root / "wandb" / f"run-20260101_00000{at}-abc{at}" / "files"
    lines = ["wandb_version: 1", "", "_wandb:", "  desc: null", "  value:", "    cli_version: 0.31.0"]
    for key, value in {**settings(run), "params": PARAMS, "tokens": TOKENS}.items():
        lines += [f"{key}:", "  desc: null", f"  value: {json.dumps(value)}"]
    write_text(folder / "config.yaml", "\n".join(lines) + "\n")
    loss = '"NaN"' if math.isnan(run.loss) else run.loss
    write_text(folder / "wandb-summary.json", f'{{"val/loss": {loss}, "_step": 59, "_wandb": {{"runtime": 9}}}}')


def offline_folder(root: Path, at: int, run: Planted, *, exit_code: int | None = 0) -> Path:
    """A run folder of an offline run: only the log."""
    path = root / "wandb" / f"offline-run-20260101_00000{at}-abc{at}" / f"run-abc{at}.wandb"
    records = [_field(17, _field(1, b"abc") + _field(8, f"sweep-{at}".encode()) + _config_fields(run))]
    for step, loss in enumerate(run.curve()):
        row = {"train/loss": loss, "lr": run.lr, "_step": step}
        records.append(_field(2, b"".join(_item(key, value) for key, value in row.items())))
    records.append(_field(3, _item("val/loss", run.loss)))
    if exit_code is not None:
        records.append(_field(18, _varint(1 << 3) + _varint(exit_code)))
    path.parent.mkdir(parents=True)
    path.write_bytes(_framed(records))
    return path


def _config_fields(run: Planted) -> bytes:
    items = {**settings(run), "params": PARAMS, "tokens": TOKENS}
    return _field(4, b"".join(_item(key, value) for key, value in items.items()))


def _item(key: str, value: Any) -> bytes:
    return _field(1, _field(2, key.encode()) + _field(16, json.dumps(value).encode()))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _framed(records: Iterable[bytes]) -> bytes:
    """Records in blocks of 32 KiB, cut into fragments where they do not fit."""
    data = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        rest, first = record, True
        while first or rest:
            if 32768 - len(data) % 32768 < 7:
                data += bytes(32768 - len(data) % 32768)
            room = 32768 - len(data) % 32768 - 7
            part, rest = rest[:room], rest[room:]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not rest]
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
    return bytes(data)


# MLflow

STATUS = {"finished": 3, "crashed": 4}


def mlflow_folder(root: Path, runs: Iterable[Planted], experiment: str = "sweep") -> Path:
    """The folder `mlruns`: a file for each parameter and metric, an empty default experiment, a deleted run."""
    home = root / "mlruns" / "887"
    for folder, name in ((root / "mlruns" / "0", "Default"), (home, experiment)):
        write_text(folder / "meta.yaml", f"experiment_id: '{folder.name}'\nlifecycle_stage: active\nname: {name}\n")
    for i, run in enumerate(runs):
        _mlflow_run(home / f"{i:032x}", f"sweep-{i}", run)
    _mlflow_run(home / ("f" * 32), "gone", SWEEP[0], stage="deleted")
    return root / "mlruns"


def _mlflow_run(folder: Path, name: str, run: Planted, stage: str = "active") -> None:
    meta = f"run_id: {folder.name}\nrun_name: {name}\nlifecycle_stage: {stage}\nstatus: {STATUS[run.state]}\n"
    write_text(folder / "meta.yaml", f"artifact_uri: file:///gone\n{meta}tags: []\n")
    for key, value in {"lr": run.lr, "batch_size": run.batch, "optim/weight_decay": 0.1, "seq_len": SEQ_LEN}.items():
        write_text(folder / "params" / key, str(value))
    curve = run.curve()
    lines = [f"17953669298{i:02d} {loss} {10 * i}" for i, loss in enumerate(curve)]
    write_text(folder / "metrics" / "train" / "loss", "\n".join(lines) + "\n")
    write_text(folder / "metrics" / "val_loss", f"1795366929000 {run.loss} 590\n")
    write_text(folder / "tags" / "mlflow.user", "someone")


MLFLOW_TABLES = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256), lifecycle_stage VARCHAR(32));
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), status VARCHAR(9), start_time BIGINT,
  lifecycle_stage VARCHAR(20), experiment_id INTEGER);
CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT,
  is_nan BOOLEAN);
"""


def mlflow_database(path: Path, runs: Iterable[Planted], experiment: str = "sweep") -> Path:
    """The SQLite store: NaN as 0 with a flag."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(MLFLOW_TABLES)
        connection.execute("INSERT INTO experiments VALUES (0, 'Default', 'active'), (1, ?, 'active')", (experiment,))
        for i, run in enumerate(runs):
            name, state = f"{i:032x}", "FINISHED" if run.state == "finished" else "FAILED"
            row = (name, f"sweep-{i}", state, i, "active", 1)
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
            params = {"lr": run.lr, "batch_size": run.batch, "optim/weight_decay": 0.1, "seq_len": SEQ_LEN}
            connection.executemany(
                "INSERT INTO params VALUES (?, ?, ?)", [(k, str(v), name) for k, v in params.items()]
            )
            points = [("train/loss", loss, 10 * step) for step, loss in enumerate(run.curve())]
            points += [("val_loss", 9.9, 300), ("val_loss", run.loss, 590)]
            connection.executemany(
                "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)",
                [(k, 0.0 if math.isnan(v) else v, s, name, s, math.isnan(v)) for k, v, s in points],
            )
    return path


# Ray Tune


def ray_experiment(root: Path, runs: Sequence[Planted], reports: int = 8) -> Path:
    """An experiment folder: a folder a trial, and the state of the trials beside them."""
    states = []
    for i, run in enumerate(runs):
        trial = f"45f26_0000{i}"
        folder = root / f"train_{trial}_{i}_lr={run.lr}_2026-01-01_00-00-00"
        config = {"lr": run.lr, "train": {"bs": run.batch}, "params": PARAMS, "seq_len": SEQ_LEN}
        write_json(folder / "params.json", config)
        write_text(folder / "params.pkl", "not to be opened")
        curve = run.curve(reports)
        lines = [
            {"val_loss": loss, "training_iteration": j + 1, "trial_id": trial, "done": False, "config": config}
            for j, loss in enumerate(curve)
        ]
        write_text(folder / "result.json", "".join(json.dumps(line) + "\n" for line in lines))
        write_text(folder / "events.out.tfevents.1.vm", "not to be read")
        states.append([json.dumps({"trial_id": trial, "status": _ray_state(run)}), "{}"])
    write_json(root / "experiment_state-2026-01-01_00-00-00.json", {"trial_data": states, "stats": {}})
    return root


def _ray_state(run: Planted) -> str:
    return "TERMINATED" if run.state == "finished" else "ERROR"


# Hugging Face

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 4096,
}
# By hand: per layer queries and outputs 64 x 64 each, keys and values 64 x 32 each, three FFN matrices 64 x 176, two
# norms of 64; a last norm of 64.
LLAMA_PARAMS = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 176 + 2 * 64) + 64


def trainer_state(run: Planted, *, steps: int = 600, max_steps: int = 600, counted: bool = True) -> dict[str, Any]:
    """What a Trainer saves: a log of losses every ten steps, two evaluations, the averages at the end."""
    per_step = run.batch * SEQ_LEN if counted else 0
    curve = run.curve(max_steps // 10)[: steps // 10]
    log: list[dict[str, Any]] = []
    for i, loss in enumerate(curve):
        step = 10 * (i + 1)
        rate = run.lr * min(1, step / 100) * (1 - 0.9 * max(0, step - 100) / 500)
        log.append({"loss": loss, "grad_norm": 1.0, "learning_rate": rate, "step": step, "epoch": step / 600})
    if steps == max_steps:
        log += [{"eval_loss": 9.9, "step": 300}, {"eval_loss": run.loss, "eval_runtime": 1.0, "step": steps}]
        log.append({"train_loss": 5.0, "train_runtime": 1.0, "total_flos": 1e9, "step": steps})
    return {
        "global_step": steps,
        "max_steps": max_steps,
        "num_train_epochs": 1,
        "train_batch_size": run.batch // 4,
        "num_input_tokens_seen": per_step * steps,
        "log_history": log,
    }


def trainer_runs(root: Path, runs: Iterable[Planted], *, model: bool = True, **options: Any) -> Path:
    """Output folders at some depth: the state in the last checkpoint and, older, in the one before."""
    for i, run in enumerate(runs):
        folder = root / "sweep" / f"run-{i}"
        write_json(folder / "checkpoint-300" / "trainer_state.json", trainer_state(run, **{**options, "steps": 300}))
        write_json(folder / "checkpoint-600" / "trainer_state.json", trainer_state(run, **options))
        write_text(folder / "checkpoint-600" / "training_args.bin", "a pickle, not to be opened")
        if model:
            write_json(folder / "checkpoint-600" / "config.json", LLAMA)
    return root


# Optuna

OPTUNA_TABLES = """
CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512));
CREATE TABLE study_directions (study_direction_id INTEGER PRIMARY KEY, direction VARCHAR(8), study_id INTEGER,
  objective INTEGER);
CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER, state VARCHAR(8));
CREATE TABLE trial_params (param_id INTEGER PRIMARY KEY, trial_id INTEGER, param_name VARCHAR(512), param_value FLOAT,
  distribution_json TEXT);
CREATE TABLE trial_values (trial_value_id INTEGER PRIMARY KEY, trial_id INTEGER, objective INTEGER, value FLOAT,
  value_type VARCHAR(7));
CREATE TABLE trial_intermediate_values (trial_intermediate_value_id INTEGER PRIMARY KEY, trial_id INTEGER,
  step INTEGER, intermediate_value FLOAT, intermediate_value_type VARCHAR(7));
CREATE TABLE trial_user_attributes (trial_user_attribute_id INTEGER PRIMARY KEY, trial_id INTEGER, key VARCHAR(512),
  value_json TEXT);
"""
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}'
CHOICE = '{"name": "CategoricalDistribution", "attributes": {"choices": [64, 128]}}'
OPTUNA_STATES = {"finished": "COMPLETE", "crashed": "PRUNED"}


def optuna_database(path: Path, runs: Iterable[Planted], studies: Mapping[str, str]) -> Path:
    """An SQLite storage with studies of these names and directions; the trials are those of the first."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(OPTUNA_TABLES)
        for i, (name, direction) in enumerate(studies.items(), start=1):
            connection.execute("INSERT INTO studies VALUES (?, ?)", (i, name))
            connection.execute("INSERT INTO study_directions VALUES (?, ?, ?, 0)", (i, direction, i))
        for i, run in enumerate(runs):
            nan = math.isnan(run.loss)
            state = "FAIL" if nan else OPTUNA_STATES[run.state]
            connection.execute("INSERT INTO trials VALUES (?, ?, 1, ?)", (i, i, state))
            choice = (64, 128).index(run.batch)
            for name, value, told in (("lr", run.lr, FLOAT), ("batch_size", choice, CHOICE)):
                row = (i, name, value, told)
                connection.execute("INSERT INTO trial_params VALUES (NULL, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO trial_user_attributes VALUES (NULL, ?, 'seq_len', ?)", (i, str(SEQ_LEN)))
            for step, loss in enumerate((9.0, run.loss)):
                row = (i, step, None if math.isnan(loss) else loss, "NAN" if math.isnan(loss) else "FINITE")
                connection.execute("INSERT INTO trial_intermediate_values VALUES (NULL, ?, ?, ?, ?)", row)
            if not nan:
                connection.execute("INSERT INTO trial_values VALUES (NULL, ?, 0, ?, 'FINITE')", (i, run.loss))
    return path
