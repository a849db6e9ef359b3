"""One run to make, as plain values, and what it came to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.train import TrainConfig

Trainer = Literal["forescale", "command"]
State = Literal["planned", "running", "done", "stopped", "diverged", "failed", "lost"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("done", "stopped", "diverged", "failed")  # nothing more happens unless it is asked for
MEASURED: tuple[State, ...] = ("done", "diverged")  # what a law may learn from

# Columns of the runs table that are known before a run.
COLUMNS = (
    *("params", "active_params", "tokens", "seq_len", "batch_tokens", "batch_sequences", "steps", "learning_rate"),
    *("weight_decay", "beta1", "beta2", "epsilon", "warmup_steps", "schedule", "final_lr_ratio", "grad_clip"),
    *("init_std", "optimizer", "scheme", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to make. What it trains and how is in `settings`, in plain JSON types, and its key is their hash.

    `execution` says how it is carried out (device, threads, ...) and is no part of the key, nor is `time_limit`.
    """

    trainer: Trainer
    settings: Mapping[str, Any]  # forescale: a TrainConfig's identity; command: the command, its rules and its fields
    row: Mapping[str, Any]  # what the runs table says of it before it has run: `COLUMNS`, and any more
    compute: float  # FLOPs, attention included
    execution: Mapping[str, Any] = field(default_factory=dict[str, Any])
    time_limit: float | None = None  # seconds; a run that takes longer is ended and has failed

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits, the same wherever and whenever the run is planned."""
        text = json.dumps({"trainer": self.trainer, **self.settings}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `job_from_json` reads them back."""
        return {
            "trainer": self.trainer,
            "settings": dict(self.settings),
            "row": dict(self.row),
            "compute": self.compute,
            "execution": dict(self.execution),
            "time_limit": self.time_limit,
        }


def job_from_json(values: Mapping[str, Any]) -> Job:
    """What `Job.to_json` made."""
    return Job(**values)


def train_job(config: TrainConfig, **more: Any) -> Job:
    """The job of training by `config`; `more` are further columns of its row. Its `out` is left to the sweep."""
    from forescale.train._config import EXECUTION
    from forescale.train._config_json import config_to_json, identity

    row = {name: getattr(config, name) for name in COLUMNS} | {
        "depth": config.shape.layers,
        "width": config.shape.width,
    }
    execution = {name: value for name, value in config_to_json(config).items() if name in EXECUTION - {"out"}}
    return Job(
        trainer="forescale",
        settings=identity(config),
        row=row | more,
        compute=float(config.flops_per_token) * config.tokens,
        execution=execution,
    )


def config_of(job: Job, **changes: Any) -> TrainConfig:
    """The training config of a job of our own trainer; `changes` may set what is no part of its identity."""
    from forescale.train._config_json import config_from_json

    if job.trainer != "forescale":
        raise ForescaleError(f"only a job of forescale's own trainer has a config; this one is a {job.trainer}'s.")
    return config_from_json({**job.settings, **job.execution, "out": None, **changes})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to: `loss` in nats per token, infinite where it diverged, NaN where there is none."""

    state: State
    loss: float = math.nan
    row: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what was measured: seconds, tokens, ...
    problem: str = ""  # why it failed, or why it was stopped
