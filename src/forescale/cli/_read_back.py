"""The options of `forescale train --resume` that describe no run: it is the one in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forescale.cli import _read_train as reading
from forescale.cli._options import whole
from forescale.errors import ForescaleError

if TYPE_CHECKING:
    from forescale.train import TrainConfig

# About how a run is carried out. A precision that changes the run is refused by the run itself, which knows its device.
CARRIED_OUT = (
    *("device", "precision", "compile", "parallel", "micro_batch", "threads", "eval_every", "checkpoint_every"),
    "noise",
)
DESCRIBING = ("params", "shape", "depth", "width", "tokens", "steps", "data")
ABOUT_THE_CALL = ("out", "resume", "dry_run", "json", "log")
NUMBERS = ("learning_rate", "weight_decay", "epsilon", "grad_clip", "init_std")
PLAIN = (
    *("beta1", "beta2", "warmup_steps", "schedule", "final_lr_ratio", "optimizer", "scheme", "seed", "batch_sequences"),
    *("tokenizer", "key", "errors"),
)
OF_THE_MODEL = ("position", "activation", "z_loss", "density")


def describes(given: Mapping[str, Any]) -> bool:
    """Whether the options say what to train."""
    return any(name in given for name in DESCRIBING)


def carried_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that say how to carry the run out, as fields of its config."""
    made = {name: options[name] for name in CARRIED_OUT if name in options}
    return made | ({"log": tuple(options["log"] or ())} if "log" in options else {})


def read_back(given: Mapping[str, Any]) -> TrainConfig:
    """The config of the run in the folder, with what was given on how to carry it out.

    Raises `ForescaleError` for any other option, unless it says what the run is anyway.
    """
    from forescale.train._config_json import config_from_json
    from forescale.train._folder import read_config

    folder = given["out"]
    found = read_config(folder)
    if found is None:
        raise ForescaleError(f"{folder} holds no run to go on with: describe one, or name its folder.")
    config = config_from_json(found["config"])
    compared = dict(_compared(given, config))
    if unknown := [name for name in given if name not in {*compared, *CARRIED_OUT, *ABOUT_THE_CALL}]:
        raise ForescaleError(
            f"--resume with --out alone takes the run from {folder}; got {_flags(unknown)} too: leave that out, or "
            "describe the whole run (--params and --tokens), which is then compared."
        )
    if changes := [f"{name} was {old}, now {new}" for name, (old, new) in compared.items() if old != new]:
        raise ForescaleError(
            f"a run is resumed with its own config; in {folder} {'; '.join(changes)}: give the old values, or name "
            "another --out."
        )
    return replace(config, **carried_out(given))


def _compared(given: Mapping[str, Any], config: TrainConfig) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Options that are fields of the config: the folder's value and the one that was given."""
    read = {name: given[name] for name in (*PLAIN, *OF_THE_MODEL) if name in given}
    read |= {name: reading.read_number(given[name], _flags([name])) for name in NUMBERS if name in given}
    readers: dict[str, Callable[[str], Any]] = {
        "seq_len": lambda text: whole(text, "--seq-len"),
        "held_out": reading.read_held_out,
        "base": reading.read_base,
        "scheme_options": reading.read_scheme_options,
    }
    read |= {name: reader(given[name]) for name, reader in readers.items() if name in given}
    for name, value in read.items():
        yield name, (getattr(config.options if name in OF_THE_MODEL else config, name), value)
    if "activation_checkpointing" in given:
        yield "activation_checkpointing", (config.options.checkpointing, True)


def _flags(names: list[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)
