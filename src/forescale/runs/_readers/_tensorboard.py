"""TensorBoard event files, read with the `tensorboard` package. Seen: files of torch 2, tensorboardX and tensorboard 2.

A run is a folder with event files. Folders below it belong to it: `add_hparams` and `add_scalars` of PyTorch write their
own, and Keras writes `train` and `validation`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from forescale.errors import MissingExtraError
from forescale.runs._columns import LAST_STEP
from forescale.runs._readers._files import as_dict, settings_file
from forescale.runs._readers._short import mark_short
from forescale.runs._readers._source import Curve, Run, Source, flatten, source_of

SIDECARS = ("hparams.yaml", "hparams.json", "hyperparameters.json", "args.json", "args.yaml", "training_args.json")
CONFIGS = ("config.json", "config.yaml", "config.yml", "params.json", ".hydra/config.yaml")
PARTS = frozenset({"train", "training", "val", "valid", "validation", "eval", "test"})
TEXTS = {"args/text_summary": "args.", "model_config/text_summary": "config.", "config/text_summary": "config."}
Point = tuple[float, float, float]  # step, wall time, value


def find_files(files: Iterable[Path]) -> list[Path]:
    """The event files among a folder's files."""
    return [path for path in files if "tfevents" in path.name]


def read_files(files: Sequence[Path], root: Path, name: str) -> Source:
    """One run a folder, with the settings that its events or the files beside them tell."""
    runs = [_run(folder, found, root) for folder, found in _by_run(files, root).items()]
    return source_of(mark_short(runs, LAST_STEP), name)


def _by_run(files: Sequence[Path], root: Path) -> dict[Path, list[Path]]:
    folders = {path.parent for path in files}
    owners = {folder: _owner(folder, folders, root) for folder in folders}
    runs: dict[Path, list[Path]] = {}
    for path in sorted(files):
        runs.setdefault(owners[path.parent], []).append(path)
    return dict(sorted(runs.items()))


def _owner(folder: Path, folders: set[Path], root: Path) -> Path:
    """The outermost folder with events above this one, or the one of which this is the training or validation part."""
    above = [parent for parent in (folder, *folder.parents) if parent in folders and parent.is_relative_to(root)]
    outer = above[-1]
    return outer.parent if outer != root and outer.name.lower() in PARTS else outer


def _run(folder: Path, files: Sequence[Path], root: Path) -> Run:
    settings: dict[str, Any] = {}
    points: dict[str, list[Point]] = {}
    for path in files:
        inner = path.parent.relative_to(folder).as_posix()
        for tag, step, time, value in _events(path):
            if isinstance(value, dict):
                settings |= as_dict(value)
            else:
                points.setdefault(_named(tag, inner), []).append((step, time, value))
    return Run(
        name=folder.relative_to(root).as_posix() if folder != root else folder.name,
        settings=_beside(folder, root) | settings,
        curves={tag: _curve(found) for tag, found in points.items()},
    )


def _named(tag: str, inner: str) -> str:
    """A tag below its run's folder: Keras's `epoch_loss` in `validation`; hyperparameter metrics keep their names."""
    if inner == "." or tag.startswith("hparam/"):
        return tag
    part = inner.rsplit("/", 1)[-1].lower()
    bare = tag.removeprefix("epoch_") if part in PARTS else tag
    return f"{part if part in PARTS else inner}/{bare}"


def _curve(points: list[Point]) -> Curve:
    """By step; of several values at one step (a run that was resumed) the one written last."""
    last = {step: value for step, _, value in sorted(points, key=lambda p: p[1])}
    return sorted(last), [last[step] for step in sorted(last)]


def _events(path: Path) -> Iterator[tuple[str, float, float, Any]]:
    """Tag, step, wall time and value of every scalar; settings come as a dict."""
    loader, arrays = _tensorboard()
    for event in loader(str(path)).Load():
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            if plugin == "hparams" and value.tag.endswith("session_start_info"):
                yield value.tag, 0.0, 0.0, _hparams(value.metadata.plugin_data.content)
            elif value.HasField("tensor") and value.tag in TEXTS:
                yield value.tag, 0.0, 0.0, _text(arrays(value.tensor), TEXTS[value.tag])
            elif value.HasField("tensor") and plugin in ("scalars", ""):
                array = arrays(value.tensor)
                if array.size == 1 and array.dtype.kind in "fiu":
                    yield value.tag, float(event.step), float(event.wall_time), float(array.reshape(-1)[0])


def _tensorboard() -> tuple[Any, Any]:
    try:
        loader: Any = import_module("tensorboard.backend.event_processing.event_file_loader")
        tensors: Any = import_module("tensorboard.util.tensor_util")
    except ImportError:
        raise MissingExtraError("event files need tensorboard to read: pip install 'forescale[runs]'.") from None
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every file that was cut short
    return loader.EventFileLoader, tensors.make_ndarray


def _hparams(content: bytes) -> dict[str, Any]:
    """Settings of the hyperparameter dashboard."""
    messages: Any = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    data = messages.HParamsPluginData.FromString(content)
    return {
        f"hparams/{key}": getattr(value, value.WhichOneof("kind"))
        for key, value in data.session_start_info.hparams.items()
        if value.WhichOneof("kind") in ("number_value", "string_value", "bool_value")
    }


def _text(array: Any, prefix: str) -> dict[str, Any]:
    """Settings that Hugging Face's trainer writes as a text."""
    try:
        return flatten(as_dict(json.loads(array.reshape(-1)[0])), prefix)
    except (ValueError, IndexError, TypeError, RecursionError):
        return {}


def _beside(folder: Path, root: Path) -> dict[str, Any]:
    """Settings from files beside the events or above them, up to the folder given; the nearest counts."""
    settings: dict[str, Any] = {}
    for place in (folder, *folder.parents):
        if not place.is_relative_to(root):
            break
        for stem, values in {**settings_file(place, CONFIGS), **settings_file(place, SIDECARS)}.items():
            settings = {**flatten(_plain(values), f"{_prefix(stem)}."), **settings}
    return settings


def _prefix(stem: str) -> str:
    return "args" if stem in ("args", "training_args") else "config" if stem == "config" else "hparams"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """W&B's config.yaml has every value under a key `value`."""
    return {key: as_dict(value).get("value", value) for key, value in values.items()}
