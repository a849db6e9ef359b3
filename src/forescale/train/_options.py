"""What a decoder needs to know beyond its `Shape`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from forescale.errors import ForescaleError

Position = Literal["rotary", "alibi", "learned", "none"]
Activation = Literal["silu", "gelu", "relu2"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Positions, activation and losses of a decoder; none of them changes its parameter count.

    Raises `ForescaleError` for an unknown choice or a number outside its range.
    """

    position: Position = "rotary"  # learned needs `positions` of the shape
    rope_base: float = 10_000.0
    activation: Activation | None = None  # None: silu where the FFN is gated, else gelu (exact)
    norm_eps: float = 1e-5
    z_loss: float = 0.0  # coefficient of the mean squared log of the softmax's denominator
    load_balance: float = 0.01  # coefficient of the Switch Transformer's balance loss; experts only
    density: float = 1.0  # share of the hidden matrices' weights that are kept, drawn at random once
    mask_seed: int = 0
    attention_scale: float | None = None  # None: head_dim ** -0.5
    checkpointing: bool = False  # keep each block's input alone and recompute the rest in the backward pass

    def __post_init__(self) -> None:
        self._check_choice("position", get_args(Position))
        self._check_choice("activation", (*get_args(Activation), None))
        for name in ("rope_base", "norm_eps", "z_loss", "load_balance", "density", "attention_scale"):
            self._check_number(name)
        if self.density > 1:
            raise ForescaleError(f"density must be above 0 and at most 1; got {self.density!r}: it is a share.")
        if isinstance(self.mask_seed, bool) or not isinstance(self.mask_seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ForescaleError(f"mask_seed must be a whole number; got {self.mask_seed!r}: write a plain integer.")

    def _check_choice(self, name: str, choices: tuple[str | None, ...]) -> None:
        if (value := getattr(self, name)) not in choices:
            raise ForescaleError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}: choose one.")

    def _check_number(self, name: str) -> None:
        value: Any = getattr(self, name)
        if value is None and name == "attention_scale":
            return
        least = "0 or more" if name in ("z_loss", "load_balance") else "above 0"
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if not (math.isfinite(number) and (number > 0 or (number == 0 and least == "0 or more"))):
            raise ForescaleError(f"{name} must be a number {least}; got {value!r}: correct it.")
