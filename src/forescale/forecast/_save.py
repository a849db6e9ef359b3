"""A forecaster as one file: its options and windows as JSON, its weights as tensors."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from forescale.errors import ForescaleError
from forescale.forecast._options import Options, build_network
from forescale.forecast._series import Step
from forescale.forecast._train import Fitted, Training
from forescale.forecast._windows import Layout

if TYPE_CHECKING:
    from forescale.forecast._c2far import C2FAR

FORMAT = "forescale.forecast 1"


def save(model: C2FAR, path: Path) -> None:
    """Write the model; `ForescaleError` where it has no weights or the file cannot be written."""
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    about = {
        "options": asdict(model.options),
        "training": asdict(model.training),
        "layout": asdict(layout),
        "step": None if model.step is None else asdict(model.step),
        "fitted": None if model.fitted is None else asdict(model.fitted),
        "nudge": network.density.nudge,
    }
    content = {"format": FORMAT, "about": json.dumps(about), "weights": network.state_dict()}
    try:
        torch.save(content, path)
    except (OSError, RuntimeError) as error:
        raise ForescaleError(f"{path} cannot be written: {error}.") from None


def load(kind: type[C2FAR], path: Path) -> C2FAR:
    """Read the model; only tensors and text are taken from the file."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise KeyError(content["format"])
    except OSError as error:
        raise ForescaleError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError):
        raise ForescaleError(f"{path} is not a saved forecaster: give a file that C2FAR.save wrote.") from None
    about = json.loads(content["about"])
    model = kind(training=Training(**about["training"]), **_tuples(about["options"]))
    layout = Layout(**_tuples(about["layout"]))
    model.step = None if about["step"] is None else Step(**about["step"])
    model.fitted = None if about["fitted"] is None else _fitted(about["fitted"])
    network = build_network(
        Options(**_tuples(about["options"])), layout.extra_inputs(model.options.bins), about["nudge"]
    )
    network.load_state_dict(content["weights"])
    model._network, model._layout = network.eval(), layout  # pyright: ignore[reportPrivateUsage]
    return model


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for name, v in values.items()}


def _fitted(values: dict[str, Any]) -> Fitted:
    losses = tuple((step, loss, validation) for step, loss, validation in values.pop("losses"))
    return Fitted(losses=losses, left_out=tuple(values.pop("left_out")), **values)
