"""Trackers that metrics are passed to: TensorBoard, Weights & Biases, trackio; each only where it was asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from forescale.errors import MissingExtraError


class Sink(Protocol):
    """Where records go."""

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """Take records of `step` and numbers."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def make_sinks(names: Sequence[str], folder: Path, config: dict[str, Any], run: str, step: int) -> list[Sink]:
    """The trackers of these names for the `run`, which goes on after `step`; `MissingExtraError` where one is missing."""
    return [
        TensorBoard(folder, step) if name == "tensorboard" else Tracker(name, folder, config, run) for name in names
    ]


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path, step: int) -> None:
        module = _import("torch.utils.tensorboard", "tensorboard")
        # What a killed run had logged beyond its checkpoint is logged again.
        self._writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """One scalar a number, under the record's key."""
        for record in records:
            for key, value in record.items():
                if key != "step":
                    self._writer.add_scalar(key, value, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class Tracker:
    """Weights & Biases or trackio, which takes the same calls."""

    def __init__(self, name: str, folder: Path, config: dict[str, Any], run: str) -> None:
        self._module = _import(name, name)
        options: dict[str, Any] = {"project": os.environ.get("FORESCALE_PROJECT", "forescale"), "config": config}
        if name == "wandb":
            # Resumed, it is the same run.
            options |= {"dir": str(folder), "id": run, "resume": "allow"}
        self._run = self._module.init(name=folder.resolve().name, **options)

    def add(self, records: Sequence[dict[str, Any]]) -> None:
        """One call a record."""
        for record in records:
            self._module.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])

    def close(self) -> None:
        """End the run."""
        self._module.finish()


def _import(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(f"--log {package} needs {package}: pip install {package}.") from None
