"""Training: the model, its data and the loop.

The public names are loaded when they are first used, so that this package loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forescale.train._batches import Batches as Batches
    from forescale.train._config import TrainConfig as TrainConfig
    from forescale.train._corpus import Corpus as Corpus
    from forescale.train._corpus import open_corpus as open_corpus
    from forescale.train._loop import Step as Step
    from forescale.train._loop import train as train
    from forescale.train._losses import Losses as Losses
    from forescale.train._model import Decoder as Decoder
    from forescale.train._model import build_model as build_model
    from forescale.train._options import ModelOptions as ModelOptions
    from forescale.train._plan_run import PlannedRun as PlannedRun
    from forescale.train._plan_run import plan_run as plan_run
    from forescale.train._result import Result as Result
    from forescale.train._shapes import shape_for as shape_for

_HOMES = {
    "Batches": "_batches",
    "Corpus": "_corpus",
    "Decoder": "_model",
    "Losses": "_losses",
    "ModelOptions": "_options",
    "PlannedRun": "_plan_run",
    "Result": "_result",
    "Step": "_loop",
    "TrainConfig": "_config",
    "build_model": "_model",
    "open_corpus": "_corpus",
    "plan_run": "_plan_run",
    "shape_for": "_shapes",
    "train": "_loop",
}

__all__ = [
    "Batches",
    "Corpus",
    "Decoder",
    "Losses",
    "ModelOptions",
    "PlannedRun",
    "Result",
    "Step",
    "TrainConfig",
    "build_model",
    "open_corpus",
    "plan_run",
    "shape_for",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forescale.train' has no attribute {name!r}")
    return getattr(import_module(f"forescale.train.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
