"""The curve of a run: its losses so far, and the learning rates of the whole run, those to come included."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    import numpy as np
    import polars
    from numpy.typing import NDArray

    from forescale.sweep._job import Job

RATES = 512  # learning rates of a run, evenly over it
SETTINGS = ("learning_rate", "batch_tokens", "weight_decay", "beta1", "beta2", "init_std", "optimizer", "scheme")
CELL = (
    "params",
    "active_params",
    "seq_len",
    "depth",
    "width",
)  # what runs of one cell have in common, beside the tokens
DATA = ("data", "tokenizer", "held_out", "key", "options")  # the same, of the settings of our own trainer


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run's training losses so far, in nats per token, and its learning rates from the first step to the last."""

    key: str
    settings: Mapping[str, Any]  # what tells runs of one cell apart, by the names of the runs table
    progress: NDArray[np.float64]  # share of the run that was over after each record, rising
    loss: NDArray[np.float64]  # of the batches, one a record
    rate: NDArray[np.float64]  # of the whole run, evenly over it: `RATES` values, or any other number of them
    seed: int = 0  # runs with the same one see the same data in the same order
    end: float | None = None  # the held-out loss, of a run that has finished

    @property
    def share(self) -> float:
        """How much of the run is over."""
        return float(self.progress[-1]) if len(self.progress) else 0.0

    def until(self, share: float) -> Curve:
        """The curve as it was when `share` of the run was over."""
        seen = self.progress <= share + 1e-9
        return replace(self, progress=self.progress[seen], loss=self.loss[seen], end=None)


def curve_of(job: Job, metrics: polars.DataFrame, end: float | None = None) -> Curve:
    """The curve of a job by its metrics; `end` is its held-out loss where it has finished.

    Raises `ForescaleError` where the job's row does not say what its learning rate will be.
    """
    row = job.row
    done = _done(metrics, row)
    loss = metrics["loss"].cast(float).fill_null(math.nan).to_numpy() if len(done) else done
    return Curve(
        key=job.key,
        settings={name: row[name] for name in SETTINGS if row.get(name) is not None},
        progress=done,
        loss=loss,
        rate=planned_rates(row),
        seed=int(row.get("seed") or 0),
        end=end,
    )


def planned_rates(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """The learning rates of a run by its row: peak, schedule, warmup and final rate; shape (`RATES`,).

    Raises `ForescaleError` where the row does not state them.
    """
    import numpy as np

    from forescale.schedules import by_name
    from forescale.train._own import owned

    if missing := [name for name in ("learning_rate", "schedule") if not row.get(name)]:
        raise ForescaleError(f"to forecast a run needs its {' and '.join(missing)}; its row has none: state it.")
    text, steps = str(row["schedule"]), float(row.get("steps") or math.inf)
    stated = {"warmup": (row.get("warmup_steps") or 0) / steps, "final": row.get("final_lr_ratio") or 0.0}
    schedule = by_name(text, **{name: value for name, value in stated.items() if name not in owned(text)})
    return float(row["learning_rate"]) * np.array([schedule((i + 0.5) / RATES) for i in range(RATES)])


def cells(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs of one model, data and length of run together: tokens within 5 %, as whole batches leave them."""
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        same = [job.trainer, *(job.row.get(name) for name in CELL), *(job.settings.get(name) for name in DATA)]
        alike.setdefault(repr(same), []).append(job)
    return [cell for group in alike.values() for cell in _by_tokens(group)]


def _by_tokens(jobs: Sequence[Job]) -> list[list[Job]]:
    made: list[list[Job]] = []
    for job in sorted(jobs, key=_tokens):
        if made and _tokens(job) <= 1.05 * _tokens(made[-1][0]):
            made[-1].append(job)
        else:
            made.append([job])
    return made


def _tokens(job: Job) -> float:
    return float(job.row.get("tokens") or 0)


def _done(metrics: polars.DataFrame, row: Mapping[str, Any]) -> NDArray[np.float64]:
    """The share of the run after each record, by its tokens or else its steps."""
    import numpy as np

    for column, whole in (("tokens", row.get("tokens")), ("step", row.get("steps"))):
        if whole and {column, "loss"} <= set(metrics.columns):
            return np.minimum(metrics[column].cast(float).to_numpy() / float(whole), 1.0)
    return np.empty(0)
