"""The gradient noise scale of a run, beside its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.train._config import TrainConfig

if TYPE_CHECKING:
    from forescale.noise import Meter

EXACT_EVERY = 10  # steps between exact passes, which turn the norm layers' noise scale into the total


def make_meter(config: TrainConfig, model: Any) -> Meter | None:
    """A meter on the model, where the config asks for one."""
    if config.noise == "off":
        return None
    from forescale.noise import Meter

    if config.noise == "norm":
        return Meter(model, layers="norm", exact_every=EXACT_EVERY)
    return Meter(model)


def measured(meter: Meter) -> dict[str, float]:
    """What a line of metrics says of the noise, in examples (sequences)."""
    found = meter.noise_scale
    values = {"noise_scale": found.value, "noise_scale_low": found.low, "noise_scale_high": found.high}
    return values | {"norm_noise_scale": meter.norm_scale.value}
