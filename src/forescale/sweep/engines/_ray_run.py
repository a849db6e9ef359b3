"""A run as a Ray task carries it out, alone or shared between processes by Ray Train."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forescale.errors import ForescaleError
from forescale.sweep._job import Outcome
from forescale.sweep._run import outcome_of
from forescale.sweep.engines._engine import Task
from forescale.sweep.engines._work import carry_out

FOLDER = ".ray"  # beside the runs: the sign that a node sees them, and what Ray Train writes
SIGN = "sign"


class UnseenFolderError(ForescaleError):
    """A node does not see the folder of the runs that the driver sees."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """How a run is shared between processes, and what each of them is given."""

    processes: int
    cpus: float
    gpus: float
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    retries: int = 3


def run(task: Task, sign: str) -> Outcome:
    """A run in this worker; raises `UnseenFolderError` where the node does not see the folder of the runs."""
    check_sight(task, sign)
    return carry_out(task)


def run_shared(task: Task, sign: str, share: Share) -> Outcome:
    """A run shared between processes that Ray Train starts; a lost one is started again, from the run's checkpoint."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    check_sight(task, sign)
    if (known := outcome_of(task.folder)) is not None:
        return known
    each = {"CPU": share.cpus, **share.resources} | ({"GPU": share.gpus} if share.gpus else {})
    scaling = ScalingConfig(num_workers=share.processes, use_gpu=share.gpus > 0, resources_per_worker=each)
    kept = RunConfig(
        name=task.key,
        storage_path=str(task.folder.parent / FOLDER),
        failure_config=FailureConfig(max_failures=share.retries),
    )
    trainer: Any = TorchTrainer(_one_process, train_loop_config={"task": task}, scaling_config=scaling, run_config=kept)
    told: Mapping[str, Any] = trainer.fit().metrics or {}
    return outcome_of(task.folder) or Outcome(state=told["state"], loss=math.nan, problem=told["problem"])


def _one_process(given: Mapping[str, Any]) -> None:
    """One process's part; Ray Train has joined it with the others."""
    from ray import train

    outcome = carry_out(given["task"])
    train.report({"state": outcome.state, "problem": outcome.problem})


def check_sight(task: Task, sign: str) -> None:
    """Raise `UnseenFolderError` unless the sign that the driver has put beside the runs is seen here."""
    try:
        seen = sign_of(task.folder.parent).read_text("utf-8")
    except OSError:
        seen = ""
    if seen != sign:
        raise UnseenFolderError(
            f"every node of a cluster must see the folder of the runs; {platform.node()} does not see {task.folder.parent}: "
            "keep the sweep on a file system that all nodes share."
        )


def sign_of(runs: Path) -> Path:
    """The file whose text says that this is the driver's folder of runs."""
    return runs / FOLDER / SIGN
