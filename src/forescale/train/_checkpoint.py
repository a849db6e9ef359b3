"""Checkpoints: model, optimizer, random numbers and place in the data, in one file that any number of processes reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from forescale.errors import ForescaleError
from forescale.train._distributed import World
from forescale.train._files import replace_file, why
from forescale.train._step import Stepper

FORMAT = 1
NAME = re.compile(r"step-(\d{9})\.pt")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after `step` steps; tensors are whole and on the CPU."""

    step: int
    seconds: float  # of training until then
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    rng: Mapping[str, Tensor]
    noise: Mapping[str, Any] | None = None  # a meter's averages


def save_checkpoint(folder: Path, step: int, stepper: Stepper, seconds: float, keep: int) -> None:
    """Write the checkpoint and delete all but the last `keep`; every process calls it, the first one writes.

    Raises `OSError` if it cannot be written; those before it are then still there.
    """
    state = {
        "format": FORMAT,
        "step": step,
        "seconds": seconds,
        "sequences": step * stepper.config.batch_sequences,
        "model": _whole(stepper.bare.state_dict(), stepper.world),
        "optimizer": _whole(stepper.optimizer.state_dict(), stepper.world),
        "rng": _random_state(stepper.world),
        "noise": None if stepper.meter is None else stepper.meter.state_dict(),
    }
    if stepper.world.main:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / f"step-{step:09d}.pt", lambda file: torch.save(state, file))
        except RuntimeError as error:
            raise OSError(why(error)) from error
        for old in _paths(folder)[:-keep]:
            old.unlink(missing_ok=True)


def load_latest(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The newest checkpoint that can be read, None where there is none, and what had to be passed over."""
    notes: list[str] = []
    for path in reversed(_paths(folder)):
        try:
            return _load(path), tuple(notes)
        except ForescaleError as error:
            notes.append(str(error))
    if notes:
        raise ForescaleError(f"no checkpoint in {folder} can be read: {notes[0]}")
    return None, ()


def set_aside(folder: Path, step: int) -> None:
    """Rename the checkpoints after `step`, so that they are none."""
    for path in _paths(folder):
        if _step(path) > step:
            path.replace(path.with_name(f"{path.name}.unreadable"))


def _load(path: Path) -> Checkpoint:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if state["format"] != FORMAT:
            raise ForescaleError(
                f"{path} has format {state['format']}, this version reads {FORMAT}: use the other one."
            )
        kept = {name: state[name] for name in ("step", "seconds", "model", "optimizer", "rng")}
        return Checkpoint(**kept, noise=state.get("noise"))
    except ForescaleError:
        raise
    except Exception as error:  # a damaged file shows as any of a dozen kinds
        raise ForescaleError(f"the checkpoint {path} is damaged ({why(error)})") from None


def restore(stepper: Stepper, checkpoint: Checkpoint) -> None:
    """Put model, optimizer and random numbers back; raises `ForescaleError` for a checkpoint of another model."""
    own = cast("dict[str, Tensor]", stepper.bare.state_dict())
    if own.keys() != checkpoint.model.keys():
        odd = sorted(own.keys() ^ checkpoint.model.keys())
        raise ForescaleError(
            f"a checkpoint must have the model's tensors; {', '.join(odd[:3])} stand in one of the two alone: resume with "
            "the config that wrote it."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_part(tensor, checkpoint.model[name]))
    stepper.optimizer.load_state_dict(_optimizer_state(stepper.parameters, checkpoint.optimizer))
    if stepper.meter is not None and checkpoint.noise is not None:
        stepper.meter.load_state_dict(checkpoint.noise)
    torch.set_rng_state(checkpoint.rng["cpu"])
    if stepper.world.device.type == "cuda" and "cuda" in checkpoint.rng:
        torch.cuda.set_rng_state(checkpoint.rng["cuda"], stepper.world.device)


def steps_of(folder: Path) -> tuple[int, ...]:
    """The steps that there are checkpoints of."""
    return tuple(_step(path) for path in _paths(folder))


def _step(path: Path) -> int:
    return int(cast("re.Match[str]", NAME.fullmatch(path.name))[1])


def _paths(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if NAME.fullmatch(path.name))


def _random_state(world: World) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(world.device)
    return state


def _whole(value: Any, world: World) -> Any:
    """Nested state with every tensor whole and on the CPU; other processes help to gather and keep nothing."""
    if isinstance(value, Mapping):
        return {key: _whole(each, world) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        kind = cast("type[list[Any]]", type(cast("Any", value)))
        return kind(_whole(each, world) for each in cast("list[Any]", value))
    if not isinstance(value, Tensor):
        return value
    gathered: Any = value
    if hasattr(gathered, "full_tensor"):
        gathered = gathered.full_tensor()
    return _alone(gathered.detach().cpu()) if world.main else None


def _alone(tensor: Tensor) -> Tensor:
    """A tensor without the rest of the memory that it is a part of, all of which torch.save would write."""
    whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
    return tensor if whole else tensor.clone()


def _optimizer_state(parameters: Sequence[Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The saved state in parts, where the parameters are sharded."""
    state = {
        number: {
            name: _part(parameters[number], value) if isinstance(value, Tensor) and value.dim() else value
            for name, value in one.items()
        }
        for number, one in saved["state"].items()
    }
    return {**saved, "state": state}


def _part(target: Any, whole: Tensor) -> Any:
    """A whole tensor as it lies in a sharded one of its shape; else as it is."""
    if not hasattr(target, "device_mesh"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same file, so none needs to send it.
    return distribute_tensor(whole.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
