"""The hyperparameters at the base, from whatever the caller has them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from forescale.errors import ForescaleError, UnknownNameError
from forescale.quantities import as_float
from forescale.recipe import Recipe, Value

_ALIASES = {"lr": "learning_rate", "eps": "epsilon", "wd": "weight_decay"}


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """AdamW's settings at the base. What a mapping leaves out is what published pretraining recipes use."""

    learning_rate: float  # peak
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for f in fields(self):
            _check(f.name, getattr(self, f.name))


def _check(name: str, value: object) -> None:
    number = as_float(value, name)
    most = 1.0 if name.startswith("beta") else float("inf")
    if not 0 <= number < most or (name == "learning_rate" and number == 0):
        bound = (
            "from 0 to below 1"
            if most == 1
            else "finite and above 0"
            if name == "learning_rate"
            else "finite, 0 or more"
        )
        raise ForescaleError(f"{name} must be {bound}; got {number:g}.")


def read_hyperparameters(recipe: Any) -> Hyperparameters:
    """Read a `Recipe`, a plan, a mapping (learning_rate, weight_decay, beta1, beta2 or betas, epsilon), or a learning rate."""
    recipe = getattr(recipe, "recipe", recipe)
    if isinstance(recipe, Hyperparameters):
        return recipe
    names = [f.name for f in fields(Hyperparameters)]
    if isinstance(recipe, Recipe):
        return Hyperparameters(**{name: getattr(recipe, name).number for name in names})
    if isinstance(recipe, Mapping):
        return Hyperparameters(**_plain(cast("Mapping[str, Any]", recipe), names))
    if isinstance(recipe, int | float) and not isinstance(recipe, bool):
        return Hyperparameters(learning_rate=recipe)
    raise ForescaleError(
        f"a recipe is a forescale Recipe or Plan, a mapping with learning_rate, or a learning rate; got {recipe!r}."
    )


def _plain(given: Mapping[str, Any], names: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for key, value in given.items():
        number: Any = value.number if isinstance(value, Value) and not isinstance(value.value, str) else value
        if key == "betas":
            values["beta1"], values["beta2"] = number
        elif (name := _ALIASES.get(key, key)) in names:
            values[name] = number
        elif key not in _RECIPE:
            raise UnknownNameError(f"a recipe has {', '.join(names)}; got {key!r}.")
    if "learning_rate" not in values:
        raise ForescaleError(f"a recipe needs learning_rate; got {', '.join(given) or 'nothing'}.")
    return values


_RECIPE = frozenset(f.name for f in fields(Recipe))
