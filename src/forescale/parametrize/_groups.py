"""From rules to an optimizer's groups: parameters with equal settings together, for fused kernels want few groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize import _names as names
from forescale.parametrize._family import Family
from forescale.parametrize._model import read_model
from forescale.parametrize._recipe import Hyperparameters

if TYPE_CHECKING:
    from forescale.parametrize._rules import Rule, Rules

# Optimizer -> the settings beside lr and weight_decay that it takes, and the family of update that decides the rates.
OPTIMIZERS = {
    "adamw": (("eps", "betas"), "adam"),
    "adam-atan2": (("betas",), "adam"),
    "lion": (("betas",), "adam"),
    "muon": (("eps", "betas"), "adam"),
    "adafactor": ((), "adafactor"),
    "sgd": ((), "sgd"),
}


def make_groups(
    rules: Rules, model: Any, recipe: Hyperparameters, optimizer: str, decay_embeddings: bool
) -> list[dict[str, Any]]:
    """The groups, in the order in which their first parameter stands in the model."""
    _check_optimizer(rules, optimizer)
    parameters = _by_name(model)
    scales = rules.scales(read_model(model, rules.tensors(model)))
    betas = rules.betas(recipe, scales)
    width = rules.scheme.seen(scales).width if isinstance(rules.scheme, Family) else 1.0
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for rule in rules.rules(model):
        if rule.tensor.frozen:
            continue
        settings = _settings(rule, recipe, betas, optimizer, width, decay_embeddings)
        key = tuple(settings.items())
        group = groups.setdefault(key, {"params": [], "param_names": [], **settings})
        group["params"].append(parameters[rule.tensor.name])
        group["param_names"].append(rule.tensor.name)
    return list(groups.values())


def _check_optimizer(rules: Rules, optimizer: str) -> None:
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}.")
    update = OPTIMIZERS[optimizer][1]
    if rules.scheme.name != "standard" and update != rules.scheme.optimizer:
        raise ForescaleError(
            f"{rules.scheme.name} states rates for {rules.scheme.optimizer}-like updates; {optimizer} is not one: "
            "parametrization('everett', optimizer='sgd' or 'adafactor', ...) states others."
        )
    if optimizer == "muon" and (not isinstance(rules.scheme, Family) or rules.density != 1):
        raise ForescaleError(
            f"muon's rates are derived from muP's, for dense matrices; {rules.scheme.name} states none for it: use mup, "
            "completep or completed-p, or another optimizer."
        )


def _by_name(model: Any) -> dict[str, Any]:
    root = names.unwrapped(model)
    return {names.plain_name(name): parameter for name, parameter in root.named_parameters()}


def _settings(
    rule: Rule,
    recipe: Hyperparameters,
    betas: tuple[float, float],
    optimizer: str,
    width: float,
    decay_embeddings: bool,
) -> dict[str, Any]:
    rate, decay = rule.factors.learning_rate, rule.factors.weight_decay
    muon = optimizer == "muon" and _orthogonalized(rule)
    if muon:
        # An update of fixed RMS and full rank has a spectral norm that grows as the root of the width, where Adam's,
        # aligned, grows as the width [derived, as no published table has it]; lr x decay stays.
        rate, decay = rate * width**0.5, decay / width**0.5
    decays = rule.tensor.is_matrix and (decay_embeddings or rule.tensor.role not in ("embedding", "position"))
    settings: dict[str, Any] = {
        "lr": recipe.learning_rate * rate,
        "lr_scale": rate,
        "weight_decay": recipe.weight_decay * decay if decays else 0.0,
    }
    if optimizer == "muon":
        settings["optimizer"] = "muon" if muon else "adamw"
    taken = () if muon else OPTIMIZERS[optimizer][0]
    if "eps" in taken:
        settings["eps"] = recipe.epsilon * rule.factors.epsilon
    if "betas" in taken:
        settings["betas"] = betas
    return settings


def _orthogonalized(rule: Rule) -> bool:
    """Whether Muon takes a tensor: matrices in blocks; torch's takes no stacks of experts."""
    return rule.tensor.role in ("hidden", "residual_output", "expert") and len(rule.tensor.shape) == 2
