"""Which runs can be one program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forescale.errors import ForescaleError
from forescale.train._config import TrainConfig
from forescale.train._config_json import config_to_json, differences

# What a member has for itself; everything else shapes the program or is the data, and must agree.
OWN = frozenset(
    {
        *("learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "grad_clip", "init_std", "seed"),
        *("steps", "warmup_steps", "schedule", "final_lr_ratio", "scheme", "base", "scheme_options"),
        *("eval_every", "eval_tokens", "checkpoint_every", "keep_checkpoints", "log_every", "log", "out"),
    }
)


def together(configs: Sequence[TrainConfig], *, most: int | None = None) -> list[list[int]]:
    """Groups of configs, by their places, each of which `train_population` takes as one program, in order.

    A config that must train alone is a group of its own: another optimizer than AdamW, experts, a noise scale, or one that
    is shared between processes. `most` members to a group at most, as evenly as it goes.
    """
    groups: dict[str, list[int]] = {}
    for place, config in enumerate(configs):
        key = f"alone {place}" if alone(config) else program(config)
        groups.setdefault(key, []).append(place)
    return [part for group in groups.values() for part in _parts(group, most or len(group))]


def alone(config: TrainConfig) -> str | None:
    """Why a run cannot be a member among others; None where it can."""
    if config.optimizer != "adamw":
        return f"members are updated by AdamW; got the optimizer {config.optimizer}"
    if config.shape.experts is not None:
        return "members are dense; got a shape with experts, whose tokens every member routes its own way"
    if config.noise != "off":
        return f"the noise of a member's gradient is not measured among others; got noise {config.noise}"
    if config.parallel not in ("auto", "none"):
        return f"members share one process; got parallel {config.parallel}"
    return None


def program(config: TrainConfig) -> str:
    """What configs of one program have in common, as text."""
    return json.dumps(_shared(config), sort_keys=True)


def check_together(configs: Sequence[TrainConfig]) -> None:
    """Raise `ForescaleError` for no configs, for ones that are not one program, and for a folder that two share."""
    if not configs:
        raise ForescaleError("a population needs at least one config; got none: give some.")
    for config in configs[1:] and configs:
        if why := alone(config):
            raise ForescaleError(f"{why}: train it alone, by `train`.")
    first = _shared(configs[0])
    for place, config in enumerate(configs):
        if odd := [f"{key} is {b!r}, not {a!r}" for key, a, b in differences(first, _shared(config))]:
            raise ForescaleError(
                f"members must agree in all but {', '.join(sorted(OWN))}; of member {place} {'; '.join(odd[:3])}: group "
                "the configs by `together`."
            )
    folders = [config.out for config in configs if config.out is not None]
    if len(set(folders)) < len(folders):
        double = next(folder for folder in folders if folders.count(folder) > 1)
        raise ForescaleError(f"every member needs an out folder of its own; {double} came twice: name another.")


def _shared(config: TrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = {name: value for name, value in config_to_json(config).items() if name not in OWN}
    return values | {"parallel": "auto" if config.parallel == "none" else config.parallel}


def _parts(group: list[int], most: int) -> list[list[int]]:
    count = -(-len(group) // most)
    return [group[i * len(group) // count : (i + 1) * len(group) // count] for i in range(count)]
