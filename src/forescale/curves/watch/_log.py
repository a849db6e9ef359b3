"""A run's log as arrays: which columns are which, what was logged twice, how long the run will be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forescale.curves.watch._source import Logged, Reader, open_source
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST = 4  # finite losses from which a forecast is made
STEPS = ("step", "global_step", "iteration", "iter", "iters", "train_step", "update", "num_updates", "_step", "steps")
TOKEN_TOTALS = ("max_tokens", "train_tokens", "total_tokens", "num_train_tokens", "token_budget", "tokens")
BESIDE = ("norm", "rate", "epoch")  # what is read beside a loss
RECENT = 50  # records in which a total is looked for
TOTALS = (
    "max_steps",
    "total_steps",
    "num_iterations",
    "train_iters",
    "max_iters",
    "num_train_steps",
    "total_iters",
    "steps",
)
NORM = re.compile(r"(.*_)?(grad|gradient|gradients|grads)_?(.*_)?norm(_total|_global)?|g_?norm")


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """A run's log so far, sorted by step; losses in nats per token.

    `loss` is NaN or infinite where the run had no finite loss. `norm` and `rate` (gradient norm, learning rate) are NaN where
    not logged, and None where never. `total` is the steps of the whole run, None where nothing says it.
    """

    name: str
    step: Array
    loss: Array
    norm: Array | None = None
    rate: Array | None = None
    val_step: Array
    val_loss: Array
    total: float | None = None
    epochs: float | None = None  # times that the whole run sees its data, where the log says so
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()  # what was done to it
    columns: Mapping[str, str] = field(default_factory=dict[str, str])  # our name -> the log's
    unit: str = "step"  # what `step` and `total` count: steps, or tokens where nothing says the step

    @property
    def share(self) -> float | None:
        """How much of the run is over."""
        return None if self.total is None else min(float(self.step[-1]) / self.total, 1.0)


def read_log(path: str | Path, *, steps: float | None = None) -> Log:
    """The log of a run: a metrics.jsonl, CSV, trainer_state.json, W&B or TensorBoard file or folder, finished or not.

    `steps` is the length of the whole run where the log does not say it. Of a log that went back to a checkpoint each step's
    last record counts, and half a line waits; `Log.notes` say both. Raises `ForescaleError` for a log without losses.
    """
    return follow_log(path, steps=steps)()


def follow_log(path: str | Path, *, steps: float | None = None) -> Callable[[], Log]:
    """A function that reads a log as it is by now; of a growing file each call reads what was appended."""
    source: Reader = open_source(Path(path))
    return lambda: _log(source(), steps)


def _log(logged: Logged, steps: float | None) -> Log:
    import numpy as np

    columns = _columns(logged)
    rows = list(logged.records)
    notes = [_counted(logged.bad, "line that is no record was", "lines that are no records were") + " left out"]
    notes = notes if logged.bad else []
    if logged.cut:
        notes.append("the last line is half a record: it waits for its end")
    train, held_out = _split(rows)
    at, loss, others, replaced = _series(train, columns, columns.get("loss") or columns["val_loss"])
    notes += replaced
    if "loss" not in columns:
        notes.append(f"there are no training losses: {columns['val_loss']} is watched")
    unit = "tokens" if "step" in columns and _last(columns["step"]) not in STEPS else "step"
    if "step" not in columns:
        notes.append("no column says the step: records were counted")
    elif unit == "tokens":
        notes.append(f"no column says the step: {columns['step']} is taken, and the whole run is counted in tokens")
    held = columns.get("val_loss") or (columns["loss"] if len(held_out) < len(rows) else None)
    val = _series(held_out, columns, held) if held else (np.empty(0),) * 2
    if not len(at):
        raise ForescaleError(
            f"a log needs a loss to be watched; {logged.name} has records and no loss in any: let it run on."
        )
    total = _total(logged, steps, float(at[-1]), unit)
    return Log(
        name=logged.name,
        step=at,
        loss=loss,
        norm=others.get("norm"),
        rate=others.get("rate"),
        val_step=val[0],
        val_loss=val[1],
        total=total,
        epochs=_epochs(others.get("epoch"), at, total),
        settings=logged.settings,
        notes=tuple(notes),
        columns=columns,
        unit=unit,
    )


def _epochs(epoch: Array | None, at: Array, total: float | None) -> float | None:
    """Times that the whole run sees its data, from how often it has by now."""
    if epoch is None or total is None or not math.isfinite(epoch[-1]) or not at[-1] > 0:
        return None
    return float(epoch[-1] / at[-1] * total)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _columns(logged: Logged) -> dict[str, str]:
    """Which of the records' names are the step, losses, learning rate and gradient norm."""
    from forescale.runs._columns import is_called, is_training_loss
    from forescale.runs._readers._source import _is_rate  # pyright: ignore[reportPrivateUsage]

    counts: dict[str, int] = {}
    for record in logged.records:
        for key in record:
            counts[key] = counts.get(key, 0) + 1
    if not counts and logged.silent:
        raise ForescaleError(
            f"a printed log needs lines with a step and a loss, as `step 10 | loss 3.2`; {logged.name} has none so far: "
            "wait for the first, or give a CSV file."
        )
    if not counts:
        raise ForescaleError(f"a log needs records; {logged.name} is empty so far: wait for the first.")
    losses = [key for key in counts if is_called(key, "loss")]
    groups = {
        "loss": [key for key in losses if is_training_loss(key)],
        "val_loss": [key for key in losses if not is_training_loss(key)],
        "rate": [key for key in counts if _is_rate(key)],
        "epoch": [key for key in counts if _last(key) in ("epoch", "epochs")],
        "norm": [key for key in counts if NORM.fullmatch(_last(key))],
    }
    found = {name: min(keys, key=lambda k: (-counts[k], len(k))) for name, keys in groups.items() if keys}
    if not losses:
        raise ForescaleError(
            f"a log needs a column of losses (loss, train/loss, train_loss, val_loss); {logged.name} has "
            f"{', '.join(list(counts)[:12])}: name it so."
        )
    named = sorted((k for k in counts if _last(k) in STEPS), key=lambda k: (STEPS.index(_last(k)), -counts[k]))
    named = named or [k for k in counts if is_called(k, "tokens")]
    return found | ({"step": named[0]} if named else {})


def _last(key: str) -> str:
    """The last part of a name, plain: train/global_step -> global_step; a leading underscore stays."""
    return re.sub(r"[\s\-.]+", "_", key.rsplit("/", 1)[-1].strip().lower())


def _split(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Training records and held-out ones: a column `split` may tell them apart in one column of losses."""
    if not any("split" in row for row in rows[:8]):
        return list(rows), list(rows)
    trained = [str(row.get("split", "train")).lower().startswith("train") for row in rows]
    return [row for row, its in zip(rows, trained, strict=True) if its], [
        row for row, its in zip(rows, trained, strict=True) if not its
    ]


def _series(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], key: str) -> Any:
    """Steps, values, the other columns there, and what is said of records that later ones replaced."""
    import numpy as np

    alone = "val_loss" not in columns or key != columns.get("loss")
    kept: list[tuple[float, ...]] = []
    for at, row in enumerate(rows):
        value = _value(row.get(key, ""), missing_is_nan=key in row and (alone or row.get(columns["val_loss"]) is None))
        step = _value(row.get(columns["step"], ""), missing_is_nan=False) if "step" in columns else float(at + 1)
        if value is not None and step is not None and math.isfinite(step):
            more = (
                _value(row.get(columns[name], "") if name in columns else "", missing_is_nan=True) for name in BESIDE
            )
            kept.append((step, value, *(math.nan if each is None else each for each in more)))
    table = np.array(kept, float).reshape(-1, 2 + len(BESIDE))
    table[:, 0] += _epochs_before(table[:, 0], table[:, 2 + BESIDE.index("epoch")])
    last = _last_records(table[:, 0])
    picked = table[last]
    others = {name: picked[:, 2 + i] for i, name in enumerate(BESIDE) if np.isfinite(picked[:, 2 + i]).any()}
    return picked[:, 0], picked[:, 1], others, _replaced(table[:, 0], len(table) - len(last))


def _epochs_before(step: Array, epoch: Array) -> Array:
    """What steps that are counted anew in each epoch lack: the steps of the epochs before."""
    import numpy as np

    if len(step) < 2:
        return np.zeros(len(step))
    anew = (step[1:] <= step[:-1]) & (epoch[1:] > epoch[:-1])
    gap = max(float(np.median(np.diff(step))), 1.0)
    return np.append(0.0, np.cumsum(np.where(anew, step[:-1] - step[1:] + gap, 0.0)))


def _replaced(step: Array, count: int) -> list[str]:
    """What is said of records that later ones stand for."""
    if not count:
        return []
    if bool((step[1:] < step[:-1]).any()):
        return [_counted(count, "record was", "records were") + " replaced by those of a restart from an earlier step"]
    return [_counted(count, "record has", "records have") + " the step of a later one, which counts"]


def _value(raw: Any, *, missing_is_nan: bool) -> float | None:
    """A number; None for an empty cell; a null is a number that JSON cannot write."""
    from forescale.runs._readers._source import number

    if raw is None:
        return math.nan if missing_is_nan else None
    return number(raw) if raw != "" else None


def _last_records(step: Array) -> NDArray[np.intp]:
    """The records after which none has their step or an earlier one."""
    import numpy as np

    if not len(step):
        return np.empty(0, int)
    later = np.minimum.accumulate(step[::-1])[::-1]
    return np.flatnonzero(np.append(step[:-1] < later[1:], True))


def _total(logged: Logged, steps: float | None, last: float, unit: str) -> float | None:
    """The steps of the whole run: as given, by a column of the log, or by the settings beside it."""
    from forescale.runs._readers._source import number

    if steps is not None:
        if steps < last:
            raise ForescaleError(
                f"steps is the length of the whole run, {last:g} or more; got {steps:g}: give all of them."
            )
        return steps
    rows = logged.records[-RECENT:] if unit == "step" else logged.records[:0]
    named = [(_last(key), value) for row in reversed(rows) for key, value in row.items() if _last(key) != "steps"]
    named += [(key.rsplit(".", 1)[-1], value) for key, value in logged.settings.items()]
    for name in TOKEN_TOTALS if unit == "tokens" else TOTALS:
        for key, value in named:
            told = number(value) if key == name else None
            if told is not None and told >= max(last, 2):
                return told
    return None
