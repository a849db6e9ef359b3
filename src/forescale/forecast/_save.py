"""A forecaster as one file: its options and windows as JSON, its weights as tensors."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from forescale.errors import ForescaleError
from forescale.forecast._series import Step
from forescale.forecast._train import Fitted, Training
from forescale.forecast._windows import Layout

if TYPE_CHECKING:
    from forescale.forecast._forecaster import Forecaster

FORMAT = "forescale.forecast 2"
OLDER = {"forescale.forecast 1": "C2FAR", "forescale.forecast.sutra 1": "SutraNet"}  # format -> class

Made = TypeVar("Made", bound="Forecaster")


def save(model: Forecaster, path: Path) -> None:
    """Write the model; `ForescaleError` where it has no weights or the file cannot be written."""
    network, layout = model._ready()  # pyright: ignore[reportPrivateUsage]
    about = {
        "class": model.name,
        "settings": model.settings(),
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


def load(kind: type[Made], path: Path) -> Made:
    """Read the model; only tensors and text are taken from the file."""
    about, weights = _opened(kind.name, path)
    if about["class"] != kind.name:
        raise ForescaleError(f"{path} is a saved {about['class']}, not a {kind.name}: use {about['class']}.load.")
    made: Any = kind  # its constructor takes settings and options by name
    model: Made = made(training=Training(**about["training"]), **about["settings"], **_tuples(about["options"]))
    layout = Layout(**_tuples(about["layout"]))
    model.step = None if about["step"] is None else Step(**about["step"])
    model.fitted = None if about["fitted"] is None else _fitted(about["fitted"])
    network = model.network(layout, nudge=about["nudge"])
    network.load_state_dict(weights)
    model._network, model._layout = network.eval(), layout  # pyright: ignore[reportPrivateUsage]
    return model


def _opened(name: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the model, and its weights."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        about: dict[str, Any] = json.loads(content["about"])
        if content["format"] != FORMAT:
            about = _of_older(about, OLDER[content["format"]])
        return about, content["weights"]
    except OSError as error:
        raise ForescaleError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError):
        raise ForescaleError(f"{path} is not a saved {name}: give a file that {name}.save wrote.") from None


def _of_older(about: dict[str, Any], name: str) -> dict[str, Any]:
    """As the present format says it. The one of SutraNets had the context in place of the layout."""
    if name == "C2FAR":
        return {"class": name, "settings": {}, **about}
    context, settings = about["context"], about["sutra"]
    layout = {
        "horizon": about["options"]["horizon"],
        "context": context + settings["subseries"],
        "span": context,
    }
    return {"class": name, "settings": settings, "layout": layout, "nudge": 0.0, **about}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for name, v in values.items()}


def _fitted(values: dict[str, Any]) -> Fitted:
    losses = tuple((step, loss, validation) for step, loss, validation in values.pop("losses"))
    return Fitted(losses=losses, left_out=tuple(values.pop("left_out")), **values)
