"""What a scheme says of one tensor: factors on the base's settings, and what a multiplier in the forward is worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Factors on what is right at the base shape: 1 everywhere there."""

    init_std: float = 1.0
    learning_rate: float = 1.0
    weight_decay: float = 1.0  # PyTorch's lambda, which the learning rate multiplies
    epsilon: float = 1.0  # AdamW's


# How often a multiplier counts in the learning rate: Adam's step has no scale, SGD's has the gradient's, which the
# multiplier is in already, and Adafactor's has the parameter's.
TIMES = {"adam": 1, "sgd": 2, "adafactor": 0}


def absorb(factors: Factors, multiplier: float, optimizer: str = "adam") -> Factors:
    """The factors of a tensor that takes over a multiplier of its own output in the forward.

    AdamW's step has no scale, so that `multiplier * W x` with (std, lr, eps, decay) is `W x` with (std m, lr m, eps / m,
    decay / m) at every step, exactly but for rounding. Under sgd lr m^2 and decay / m^2, under adafactor lr and decay as
    they were (Everett et al. 2024, 2407.05872, the symmetry of section 2).
    """
    rate = multiplier ** TIMES[optimizer]
    return Factors(
        init_std=factors.init_std * multiplier,
        learning_rate=factors.learning_rate * rate,
        weight_decay=factors.weight_decay / rate,
        epsilon=factors.epsilon / multiplier,
    )
