"""The curves of the benchmark of `forescale watch`: every real one in the data folder, and tiny runs of our own trainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forescale.curves.watch._end import PARTS

Array = NDArray[np.float64]
TINY = Path(__file__).resolve().parents[1] / ".cache" / "tune_demo"
# Every so many of a source's runs, where there are hundreds.
HAGELE, XLSTM, OPTIMIZERS = 8, 8, 12
LEAST = 1500  # records of a tiny run


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A finished run: its losses, its schedule (None: not known) and, where logged, its gradient norms."""

    source: str
    name: str
    step: Array
    loss: Array
    total: float
    rate: Array | None
    norm: Array | None = None
    every: int = 1  # steps from one record to the next


def load(data: Path) -> list[Run]:
    """All of them."""
    large = [*_multi_power(data), *_gpt(data), *_hagele(data), *_telemetry(data)]
    return [*large, *_xlstm(data), *_olmo(data), *_gemstones(data), *_optimizers(data), *_tiny()]


def rates(steps: Any, values: Any, total: float) -> Array:
    """The learning rate at PARTS places, evenly over a run."""
    return np.interp((np.arange(PARTS) + 0.5) / PARTS * total, steps, values)


def _multi_power(data: Path) -> Iterator[Run]:
    for file in sorted((data / "multi-power-law").glob("csv_*/*.csv")):
        step, rate, loss = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
        total, warm = float(step[-1]), 2160
        planned = rates([0, warm, *step[1:]], [0, rate.max(), *rate[1:]], total)
        name = f"{file.parent.name}/{file.stem}"
        yield Run(source="multi-power-law", name=name, step=step, loss=loss, total=total, rate=planned, every=128)


def _gpt(data: Path) -> Iterator[Run]:
    for file in sorted((data / "gpt100m-lr-schedules").glob("*.csv.gz")):
        table = pl.read_csv(file, infer_schema_length=None)
        step, loss, rate = (table[column].cast(pl.Float64).to_numpy() for column in ("step", "Metrics/loss", "lr"))
        step = step + 1 - step[0]
        total = float(step[-1])
        yield Run(source="gpt100m", name=file.name, step=step, loss=loss, total=total, rate=rates(step, rate, total))


def _hagele(data: Path) -> Iterator[Run]:
    folder = data / "lr-scheduling-hagele"
    rows = pl.read_csv(folder / "runs.csv", infer_schema_length=None)
    curves = pl.read_csv(folder / "curves.csv.gz", infer_schema_length=None)
    parts = {
        key: part.sort("step").unique("step", keep="last", maintain_order=True)
        for key, part in curves.group_by("run_idx", "split")
    }
    made = [run for row in rows.iter_rows(named=True) for run in _hagele_run(row, parts)]
    yield from made[::HAGELE]


def _hagele_run(row: dict[str, Any], parts: dict[Any, pl.DataFrame]) -> Iterator[Run]:
    logged = parts.get((row["run_idx"], "train"))
    if logged is None:
        return
    step, rate = logged["step"].cast(pl.Float64).to_numpy(), logged["lr"].to_numpy()
    total, peak = float(row["iterations"]), row["peak_lr"]
    late = step > 300
    known = ([0, 300, step[0] - 1, *step], [0, peak, peak, *rate])
    planned = rates(*(known if row["resumed"] else ([0, 300, *step[late]], [0, peak, *rate[late]])), total)
    for split in ("train", "val"):
        table = parts.get((row["run_idx"], split))
        if table is not None and table["step"][-1] >= 0.98 * total:
            at, loss = table["step"].cast(pl.Float64).to_numpy(), table["loss"].to_numpy()
            name = f"{row['run_idx']} {split}"
            yield Run(source="hagele", name=name, step=at, loss=loss, total=total, rate=planned, every=50)


def _telemetry(data: Path) -> Iterator[Run]:
    for file in sorted((data / "training-telemetry").glob("*.csv.gz")):
        table = pl.read_csv(file)
        if "learning_rate" in table.columns:
            columns = ("step", "loss", "learning_rate", "grad_norm")
            step, loss, rate, norm = (table[column].cast(pl.Float64).to_numpy() for column in columns)
            total = float(step[-1] + 1)
            planned = rates(step + 1, rate, total)
            yield Run(source="llm.c", name=file.name, step=step + 1, loss=loss, total=total, rate=planned, norm=norm)
        else:
            kept = table.filter(pl.col("split") == "train").unique("step", keep="last", maintain_order=True)
            step, loss = (kept[column].cast(pl.Float64).to_numpy() for column in ("step", "loss"))
            total = float(kept["total_steps"][0])
            yield Run(source="modded-nanogpt", name=file.name, step=step, loss=loss, total=total, rate=None)


def _xlstm(data: Path) -> Iterator[Run]:
    """Isoflop runs of Llama and xLSTM models: a cosine to a tenth, then a line to zero."""
    folder = data / "xlstm-isoflop"
    curves = pl.read_csv(folder / "curves.csv.gz", infer_schema_length=None).filter(pl.col("train_loss").is_not_null())
    parts = {key: part.sort("step") for (key,), part in curves.group_by("run_id")}
    rows = pl.read_csv(folder / "runs.csv", infer_schema_length=None)
    done = rows.filter(pl.col("final_val_dclm_loss").is_not_null() & (pl.col("steps") > 0))
    whole = [row for row in done.iter_rows(named=True) if _is_whole(row, parts.get(row["run_id"]))]
    for row in whole[::XLSTM]:
        columns = ("step", "train_loss", "lr")
        step, loss, rate = (parts[row["run_id"]][column].cast(pl.Float64).to_numpy() for column in columns)
        yield _evenly("xlstm", row["run_id"], step, loss, np.maximum(rate, 0.0))


def _is_whole(row: dict[str, Any], part: pl.DataFrame | None) -> bool:
    return part is not None and len(part) >= 40 and abs(part["step"][-1] / row["steps"] - 1) < 0.02


def _olmo(data: Path) -> Iterator[Run]:
    """Held-out losses on C4 under a cosine to a tenth."""
    columns = ("_step", "eval/c4_en-validation/CrossEntropyLoss", "optim/learning_rate_group0")
    for file in sorted((data / "olmo-ladder").glob("*xC*.csv.gz")):
        table = pl.read_csv(file, infer_schema_length=None)
        yield _evenly("olmo", file.name, *(table[column].cast(pl.Float64).to_numpy() for column in columns))


def _gemstones(data: Path) -> Iterator[Run]:
    """Training losses at a constant rate."""
    for name in ("hot_477", "lr_ablation_hot_477"):
        table = pl.read_ndjson(data / "gemstones" / f"wandb_df_for_fitting_{name}.jsonl", infer_schema_length=None)
        for (run,), part in sorted(table.sort("step").group_by("run_name"), key=lambda each: str(each[0][0])):
            step, loss = (part.sort("step")[column].cast(pl.Float64).to_numpy() for column in ("step", "final_loss"))
            yield _evenly("gemstones", f"{name} {run}", step, loss, np.ones(len(step)))


def _optimizers(data: Path) -> Iterator[Run]:
    """Held-out losses of a benchmark of optimizers; their schedules are not recorded."""
    folder = data / "modded-nanogpt-optimization"
    parts = {key: part.sort("step") for (key,), part in pl.read_csv(folder / "curves.csv.gz").group_by("run_idx")}
    rows = pl.read_csv(folder / "runs.csv").filter(
        (pl.col("last_step") >= 0.98 * pl.col("planned_steps")) & (pl.col("n_evals") >= 25)
    )
    for row in list(rows.iter_rows(named=True))[::OPTIMIZERS]:
        part = parts[row["run_idx"]].filter(pl.col("step") > 0)
        step, loss = (part[column].cast(pl.Float64).to_numpy() for column in ("step", "val_loss"))
        total, name = float(row["planned_steps"]), str(row["run_idx"])
        yield Run(source="optimizers", name=name, step=step, loss=loss, total=total, rate=None, every=int(step[0]))


def _evenly(source: str, name: str, step: Array, loss: Array, rate: Array) -> Run:
    """A run that ends with its last record; rates start at the first one's."""
    total = float(step[-1])
    planned = rates([0, *step], [rate[0] if rate[0] == rate[-1] else 0.0, *rate], total)
    return Run(source=source, name=name, step=step, loss=loss, total=total, rate=planned, every=int(step[0]))


def _tiny() -> Iterator[Run]:
    for file in sorted(TINY.rglob("metrics.jsonl")):
        records = [json.loads(line) for line in file.open()]
        records = [record for record in records if record.get("loss") is not None]
        total = float(json.loads((file.parent / "config.json").read_text())["config"]["steps"])
        if len(records) >= LEAST and records[-1]["step"] == total:
            columns = ("step", "loss", "learning_rate", "grad_norm")
            step, loss, rate, norm = (np.array([record[key] for record in records], float) for key in columns)
            planned, name = rates(step, rate, total), file.parent.name
            yield Run(source="tiny", name=name, step=step, loss=loss, total=total, rate=planned, norm=norm)
