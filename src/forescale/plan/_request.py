"""What the user has already decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import positive

SCHEDULES = ("linear", "cosine")
"""Of `forescale.schedules`, those that laws were measured under and that the exports write."""

BATCH_RULES = {"landscape": None, "hold": 0.0, "square-root": 0.5, "linear": 1.0}
"""How the learning rate follows a batch that is not the law's own: an exponent, or the landscape's ridge (None)."""

REFERENCE_KEYS = (
    *("params", "tokens", "batch_tokens", "width", "learning_rate", "weight_decay", "epsilon", "beta1", "beta2"),
)
LEAST_LEARNING_RATE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user fixes: everything else follows from laws. Tokens, ratios, steps; `None` leaves it to the laws."""

    laws: tuple[str, ...] = ()  # NAME or quantity=NAME; a catalog name or a path ending in .toml
    reference: Mapping[str, float] = field(default_factory=dict[str, float])  # a run you have, for rules that scale one
    batch_tokens: float | None = None  # tokens per optimizer step
    learning_rate: float | None = None  # peak
    weight_decay: float | None = None  # PyTorch AdamW's lambda
    warmup_steps: int | None = None
    schedule: str = "linear"  # or "cosine"
    final_lr_ratio: float | None = None
    batch_rule: str = "landscape"  # landscape, hold, square-root or linear
    devices: int = 1  # data-parallel ranks
    micro_batch: int = 1  # sequences a device takes at once
    batch_schedule: str | None = None  # a batch that changes along the run: see forescale.noise.schedule.batch_schedule
    batch_schedule_lr: str | None = None  # none or sqrt: how the learning rate follows it; None: as the schedule has it

    def __post_init__(self) -> None:
        if isinstance(self.laws, str):
            raise ForescaleError(f"laws must be a tuple of names; got the text {self.laws!r}: write ({self.laws!r},).")
        _check_numbers(self)
        _check_whole_numbers(self)
        _check_reference(self.reference)
        for name, options in (("schedule", SCHEDULES), ("batch_rule", BATCH_RULES)):
            if getattr(self, name) not in options:
                raise ForescaleError(f"{name} must be one of {', '.join(options)}; got {getattr(self, name)!r}.")
        if self.final_lr_ratio is not None and not 0 <= self.final_lr_ratio <= 1:
            raise ForescaleError(
                f"final_lr_ratio is the last learning rate over the peak, between 0 and 1; got {self.final_lr_ratio:g}."
            )
        if self.batch_schedule_lr is not None and self.batch_schedule is None:
            raise ForescaleError(
                "batch_schedule_lr says how the learning rate follows a batch_schedule: give one as well."
            )
        _check_decided_twice(self)


def _check_numbers(request: Request) -> None:
    for name in ("batch_tokens", "learning_rate", "weight_decay"):
        if (value := getattr(request, name)) is not None:
            positive(value, name)
    rate, decay = request.learning_rate, request.weight_decay
    if rate is not None and not LEAST_LEARNING_RATE <= rate < 1:
        raise ForescaleError(f"learning_rate must lie between {LEAST_LEARNING_RATE:g} and 1 for AdamW; got {rate:g}.")
    if decay is not None and decay > 100:
        raise ForescaleError(f"weight_decay multiplies the learning rate and must be at most 100; got {decay:g}.")


def _check_whole_numbers(request: Request) -> None:
    for name in ("devices", "micro_batch", "warmup_steps"):
        value: Any = getattr(request, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ForescaleError(f"{name} must be a whole number; got {value!r}.")


def _check_reference(reference: Mapping[str, float]) -> None:
    for key, value in reference.items():
        if key not in REFERENCE_KEYS:
            raise ForescaleError(f"a reference run has {', '.join(REFERENCE_KEYS)}; got {key!r}.")
        if positive(value, f"reference {key}") >= 1 and key in ("learning_rate", "epsilon", "beta1", "beta2"):
            raise ForescaleError(f"reference {key} must be below 1; got {value:g}.")


def _check_decided_twice(request: Request) -> None:
    """A value and a law for the same thing contradict each other."""
    for name, rivals in (
        ("batch_tokens", ("batch_tokens",)),
        ("learning_rate", ("learning_rate",)),
        ("weight_decay", ("weight_decay", "timescale")),
    ):
        for text in request.laws:
            quantity = text.rpartition("=")[0]
            if getattr(request, name) is not None and quantity in rivals:
                raise ForescaleError(f"{name} is given as a number and {quantity} by {text!r}: give one of them.")
