"""What the checks of exports in packages and in checkouts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export_fixtures import LR, WEIGHT_DECAY, llama_shape

STEPS, DEVICES, MICRO, ACCUMULATION, SEQ_LEN = 397, 64, 2, 4, 8192
SEQUENCES = DEVICES * MICRO * ACCUMULATION
PARAMS = sum(p.params for p in llama_shape().parts())
ADAM = {"lr": LR, "weight_decay": WEIGHT_DECAY, "betas": (0.9, 0.95), "eps": 1e-8}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trainer holds (name -> got, wanted) and the learning rate of every step."""

    values: dict[str, tuple[Any, Any]]
    learning_rates: list[float]
    peak: float = LR


def groups(optimizer: Any, *, exempt: bool = False, lr: bool = True) -> dict[str, tuple[Any, Any]]:
    """The real parameter groups against the plan's AdamW; `exempt`: a second group has no weight decay."""
    groups = optimizer.param_groups
    decays = sorted({g["weight_decay"] for g in groups})
    wanted = {name: [value] for name, value in ADAM.items() if name != "weight_decay" and (lr or name != "lr")}
    found = {
        name: (sorted({g["initial_lr" if late(g, name) else name] for g in groups}), v) for name, v in wanted.items()
    }
    return found | {"weight_decay": (decays, [0.0, WEIGHT_DECAY] if exempt else [WEIGHT_DECAY])}


def late(group: dict[str, Any], name: str) -> bool:
    return name == "lr" and "initial_lr" in group


def torch_rates(optimizer: Any, scheduler: Any) -> list[float]:
    rates: list[float] = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates
