"""What trains, and how long one step takes on it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from forescale.errors import ForescaleError
from forescale.quantities import as_float, positive

Array = Any  # a numpy array, or a float that broadcasts
MOST_DEVICES = 10**7
# What no device, step or bill is beyond: smallest and largest.
SANE = {
    "flops": (1e6, 1e21),
    "utilisation": (1e-4, 1.0),
    "step_overhead": (0.0, 1e5),
    "seconds_per_step": (1e-6, 1e6),
    "price": (1e-9, 1e9),
    "watts": (1e-3, 1e9),
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of the table: its peak dense bf16 FLOP/s and who states it."""

    title: str
    flops: float
    source: str


@cache
def known_devices() -> dict[str, Device]:
    """The devices that `flops` may name."""
    text = files(__package__ or "").joinpath("devices.toml").read_text(encoding="utf-8")
    return {name: Device(**entry) for name, entry in tomllib.loads(text).items()}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The devices, their speed and their price; the seconds of a step follow.

    A step takes as long as the busiest replica needs for its sequences, 6 N FLOPs a token, and `step_overhead` seconds
    for all that does not shrink with more replicas (the all-reduce that is not hidden, the optimizer).
    Raises `ForescaleError` for numbers that cannot be.
    """

    devices: int | None = None  # at most so many; None: as many as the batch can feed
    flops: float | str = "h100"  # peak FLOP/s of one device, or a name of `known_devices`
    utilisation: float = 0.4  # share of the peak that the model's 6 N D FLOPs reach while a replica computes
    model_parallel: int = 1  # devices that share one replica (tensor and pipeline parallel)
    micro_batch: int = 1  # sequences that a replica takes at once
    step_overhead: float = 0.0  # seconds a step, whatever the batch and the devices
    seconds_per_step: float | None = None  # instead of all that: every step takes this long, on unlimited devices
    price: float | None = None  # of one device for an hour, in any currency
    watts: float | None = None  # drawn by one device

    def __post_init__(self) -> None:
        for name in ("devices", "model_parallel", "micro_batch"):
            _check_count(getattr(self, name), name)
        for name in ("seconds_per_step", "price", "watts"):
            if (value := getattr(self, name)) is not None:
                positive(value, name)
        if not 0 < as_float(self.utilisation, "utilisation") <= 1:
            raise ForescaleError(
                f"utilisation is a share of the peak, above 0 and at most 1; got {self.utilisation:g}."
            )
        if not 0 <= as_float(self.step_overhead, "step_overhead") < float("inf"):
            raise ForescaleError(f"step_overhead is in seconds and not below 0; got {self.step_overhead:g}.")
        positive(self.peak, "flops")
        self._check_sane()
        self._check_parts()

    def _check_sane(self) -> None:
        for name, (low, high) in SANE.items():
            value = self.peak if name == "flops" else getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ForescaleError(f"{name} must lie between {low:g} and {high:g}; got {value:g}.")

    def _check_parts(self) -> None:
        if self.devices is not None and self.devices < self.model_parallel:
            raise ForescaleError(
                f"one replica takes model_parallel devices: {self.model_parallel} of them, and there are {self.devices}."
            )
        if self.seconds_per_step is None:
            return
        default = Cluster.__dataclass_fields__
        for name in ("devices", "flops", "utilisation", "model_parallel", "step_overhead", "price", "watts"):
            if getattr(self, name) != default[name].default:
                raise ForescaleError(
                    f"seconds_per_step replaces the model of the devices, so {name} would be ignored: give one of the two."
                )

    @property
    def peak(self) -> float:
        """Peak FLOP/s of one device."""
        return self.device.flops if isinstance(self.flops, str) else self.flops

    @property
    def device(self) -> Device:
        """The named device; raise `ForescaleError` naming those known."""
        known = known_devices()
        name = str(self.flops).lower()
        if name not in known:
            raise ForescaleError(f"flops is a number such as 989e12, or one of {', '.join(known)}; got {self.flops!r}.")
        return known[name]

    @property
    def replicas(self) -> float:
        """Data-parallel replicas at most; infinite where the devices are."""
        return float("inf") if self.devices is None else float(self.devices // self.model_parallel)

    def whole_batch(self, sequences: Array, rounding: float = 0.5) -> Array:
        """The nearest batch, in sequences, that the replicas in use share evenly in whole micro-batches (0: the one below)."""
        import numpy as np

        wanted = np.maximum(np.asarray(sequences) / self.micro_batch, 1)
        few = np.minimum(np.floor(wanted + rounding), self.replicas)
        if not np.isfinite(self.replicas):
            return few * self.micro_batch
        many = self.replicas * np.floor(wanted / self.replicas + rounding)
        return np.where(wanted > self.replicas, many, few) * self.micro_batch

    def devices_used(self, sequences: Array) -> Array:
        """Devices that a batch of so many sequences keeps busy."""
        import numpy as np

        return np.minimum(np.asarray(sequences) / self.micro_batch, self.replicas) * self.model_parallel

    def busy_seconds(self, params: Array, sequences: Array, seq_len: int) -> Array:
        """Seconds of a step in which a replica computes."""
        import numpy as np

        rounds = np.maximum(np.asarray(sequences) / self.micro_batch / self.replicas, 1)
        flops = 6 * params * rounds * self.micro_batch * seq_len
        return flops / (self.model_parallel * self.peak * self.utilisation)

    def step_seconds(self, params: Array, sequences: Array, seq_len: int) -> Array:
        """Seconds of a step; params and sequences broadcast."""
        if self.seconds_per_step is not None:
            return self.seconds_per_step + 0 * params * sequences
        return self.busy_seconds(params, sequences, seq_len) + self.step_overhead


def _check_count(value: Any, name: str) -> None:
    if value is None and name == "devices":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_DEVICES:
        raise ForescaleError(f"{name} must be a whole number from 1 to 10 million; got {value!r}.")
