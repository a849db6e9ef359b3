"""The schedules of a Hugging Face trainer, from its arguments: `lr_scheduler_type` and `lr_scheduler_kwargs`.

The formulas are those of transformers' `get_scheduler` (versions 4 and 5), in steps after the warmup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from forescale.runs._readers._source import number

if TYPE_CHECKING:
    from forescale.schedules import Schedule

Told = Mapping[str, Any]
Decay = Callable[[float], float]  # of the share of the steps after the warmup


def stated(told: Told, total: float, peak: float | None) -> tuple[str, Schedule] | None:
    """The schedule that the arguments name, and its name; None where they name none that can be told ahead."""
    kind = str(told.get("lr_scheduler_type", "")).lower().rsplit(".", 1)[-1]
    warm = _warmup(told, total)
    made = _decay(kind, told, total, warm, number(told.get("learning_rate")) or peak)
    if made is None:
        return None
    share = 0.0 if kind == "constant" else min(warm / total, 0.999)
    return kind, lambda at: at / share if at < share else made((at - share) / (1 - share))


def _warmup(told: Told, total: float) -> float:
    """Steps of the warmup; below 1 they are a share, as `warmup_ratio` is."""
    steps = number(told.get("warmup_steps")) or 0.0
    return steps if steps >= 1 else (steps or number(told.get("warmup_ratio")) or 0.0) * total


def _decay(kind: str, told: Told, total: float, warm: float, peak: float | None) -> Decay | None:
    def option(name: str, default: float) -> float:
        return default if (value := number(told.get(name))) is None else value

    floor = option("min_lr_rate", option("min_lr", 0.0) / peak if peak else 0.0)
    if kind == "warmup_stable_decay":
        last = option("num_decay_steps", total - warm - option("num_stable_steps", 0.9 * (total - warm)))
        return _stable(last / (total - warm), str(told.get("decay_type", "cosine")), option("min_lr_ratio", 0.0))
    cycles, power = option("num_cycles", 1.0), option("power", 1.0)
    end = option("lr_end", 1e-7) / peak if peak else 0.0
    scale = option("timescale", warm or 10_000.0)
    known: Mapping[str, Decay] = {
        "linear": lambda x: 1 - x,
        "cosine": lambda x: _half_cosine(2 * option("num_cycles", 0.5) * x),
        "cosine_with_min_lr": lambda x: floor + (1 - floor) * _half_cosine(2 * option("num_cycles", 0.5) * x),
        "cosine_warmup_with_min_lr": lambda x: floor + (1 - floor) * _half_cosine(2 * option("num_cycles", 0.5) * x),
        "cosine_with_restarts": lambda x: _half_cosine(cycles * x % 1.0) if x < 1 else 0.0,
        "polynomial": lambda x: end + (1 - end) * (1 - x) ** power,
        "constant": lambda _: 1.0,
        "constant_with_warmup": lambda _: 1.0,
        "inverse_sqrt": lambda x: (1 + x * (total - warm) / scale) ** -0.5,
    }
    return known.get(kind)


def _half_cosine(x: float) -> float:
    return (1 + math.cos(math.pi * x)) / 2


def _stable(last: float, shape: str, floor: float) -> Decay:
    """A peak that is held, and a decay over the `last` share."""
    falls: Mapping[str, Decay] = {"linear": lambda x: 1 - x, "1-sqrt": lambda x: 1 - math.sqrt(x)}
    fall = falls.get(shape, _half_cosine)
    return lambda x: 1.0 if x <= 1 - last else floor + (1 - floor) * fall(min((x - 1 + last) / last, 1.0))
