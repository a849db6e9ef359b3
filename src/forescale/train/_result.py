"""What a training run ends in."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field
from typing import Any

from forescale.train._config import TrainConfig
from forescale.train._config_json import config_hash
from forescale.train._folder import KIND

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run, or one that diverged; losses in nats per token, infinite where it diverged."""

    config: TrainConfig
    loss: float  # on held-out text
    train_loss: float  # mean over the last 5 % of the steps
    steps: int  # taken
    seconds: float  # of training, evaluation not included, over all sessions of a resumed run
    diverged_at: int | None = None  # the step, counted from 1, whose loss or gradient norm was not finite
    bits_per_byte: float | None = None  # of the held-out text; None where its bytes are not known
    held_out_tokens: int = 0
    losses: tuple[float, ...] = ()  # of this process's steps, each before its update
    micro_batch: int = 0
    precision: str = "fp32"
    processes: int = 1
    threads: int = 1
    device: str = "cpu"
    corpus: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()

    @property
    def diverged(self) -> bool:
        """Whether a loss or a gradient norm was not finite."""
        return self.diverged_at is not None

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.steps * self.config.batch_tokens

    @property
    def tokens_per_second(self) -> float:
        """Tokens trained on a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """One row of a runs table under this package's names, and what else is worth keeping; None for what is infinite."""
        config = self.config
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "loss": _finite(self.loss),
            "state": "diverged" if self.diverged else "finished" if self.steps == config.steps else "stopped",
            "diverged": self.diverged,
            "diverged_at": self.diverged_at,
            "train_loss": _finite(self.train_loss),
            "bits_per_byte": None if self.bits_per_byte is None else _finite(self.bits_per_byte),
            "params": config.params,
            "active_params": config.active_params,
            "total_params": sum(part.params for part in config.shape.parts()),
            "tokens": self.tokens,
            "steps": self.steps,
            "planned_tokens": config.tokens,
            "planned_steps": config.steps,
            "unique_tokens": min(self.tokens, self.corpus.get("train_tokens", self.tokens)),
            "sparsity": 1 - config.options.density,
            **{name: getattr(config, name) for name in _COLUMNS},
            "depth": config.shape.layers,
            "width": config.shape.width,
            "heads": config.shape.heads,
            "vocab": config.shape.vocab,
            "density": config.options.density,
            "held_out_tokens": self.held_out_tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "micro_batch": self.micro_batch,
            "precision": self.precision,
            "processes": self.processes,
            "config_hash": config_hash(config),
            "corpus": self.corpus,
            "machine": machine(self.device) | {"threads": self.threads},
            "versions": versions(),
            "notes": list(self.notes),
        }


_COLUMNS = (
    *("seq_len", "batch_tokens", "batch_sequences", "learning_rate", "weight_decay", "beta1", "beta2", "epsilon"),
    *("warmup_steps", "schedule", "final_lr_ratio", "grad_clip", "init_std", "optimizer", "scheme", "seed"),
)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def machine(device: str) -> dict[str, Any]:
    """What the run ran on."""
    import os

    import torch

    described = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    return {**described, "device": name}


def versions() -> dict[str, str]:
    """The versions that the numbers depend on."""
    import torch

    from forescale import __version__

    return {"forescale": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
