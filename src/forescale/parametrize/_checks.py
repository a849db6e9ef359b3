"""What has no rule is refused: each check says what the model has, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize._branches import open_branches
from forescale.parametrize._model import Model

if TYPE_CHECKING:
    from forescale.parametrize._rules import Rule, Rules


def check_model(rules: Rules, model: Model) -> None:
    """Raise `ForescaleError` for a model that the rules do not reach."""
    _check_attention(rules, model)
    _check_readout(rules, model)
    _check_density(rules, model)


def _check_attention(rules: Rules, model: Model) -> None:
    """Attention logits q k / sqrt(d) grow with a head size d that is not the base's: no initial value mends that."""
    base = rules.base.head_dim or (rules.base.width // rules.base.heads if rules.base.heads else None)
    scheme = rules.scheme
    if scheme.name == "standard" or scheme.absolute_std or base is None or rules.attention_scaled:
        return
    if model.head_dim is None:
        raise ForescaleError(
            f"{scheme.name} compares the head size with the base's {base}, and nothing in the model states it: give the "
            "model a config with n_head, or leave heads and head_dim out of the base where both have the same head size."
        )
    wanted = base**0.5 / model.head_dim
    scales = model.attention_scales
    if model.head_dim == base or (scales and all(abs(scale / wanted - 1) < 1e-6 for scale in scales)):
        return
    raise ForescaleError(
        f"{scheme.name} needs attention scaled by sqrt(base head size) / head size = {wanted:.6g} here, as the head size is "
        f"{model.head_dim} and the base's {base}: keep the head size and add heads, or set the scale in every attention "
        f"module (Hugging Face: module.scaling = {wanted!r}; ours: attention_scale), or say attention_scaled=True if the "
        "model scales it in another way."
    )


def _check_readout(rules: Rules, model: Model) -> None:
    tied = any(t.tied for t in model.tensors)
    if tied and rules.scheme.absolute_std:
        raise ForescaleError(
            "u-mup gives embedding and readout different initial values; the model ties them: untie them."
        )
    if rules.zero_readout and tied:
        raise ForescaleError(
            "zero_readout starts the unembedding at zero; the model ties it to the embedding: untie them, or leave it out."
        )


def _check_density(rules: Rules, model: Model) -> None:
    if not isinstance(rules.density, Mapping):
        return
    names = [t.name for t in model.tensors]
    if unused := [p for p in rules.density if not any(fnmatchcase(name, p) for name in names)]:
        raise UnknownNameError(
            f"density names {', '.join(unused)}, but the model has no such parameter: correct the name."
        )


def check_branches(rules: Rules, model: Model) -> None:
    """Every residual branch has a last linear map that takes over its multiplier."""
    if not any(t.carries == "residual" for t in model.tensors):
        raise ForescaleError(
            f"{rules.scheme.name} scales residual branches, and none was found among {len(model.tensors)} parameters: "
            "declare their last matrices, roles={'NAME': 'residual_output'}, or use mup, which scales the width alone."
        )
    if lost := open_branches(model.tensors, rules.roles):
        raise ForescaleError(
            f"{rules.scheme.name} scales every residual branch at its last matrix, and the names show none in "
            f"{', '.join(lost[:4])}: declare it, roles={{'NAME': 'residual_output'}}; or declare the matrices there 'hidden' "
            "if the branch ends elsewhere."
        )


def check_frozen(made: Sequence[Rule]) -> None:
    """A frozen tensor is not drawn anew, so that a multiplier which it should take over would be lost."""
    if lost := [rule for rule in made if rule.tensor.frozen and rule.absorbed != 1]:
        raise ForescaleError(
            f"{lost[0].tensor.name} should take over the {lost[0].tensor.carries} multiplier {lost[0].absorbed:.6g}, and it "
            "is frozen: train it, or put the multiplier into the forward (Hugging Face Granite: residual_multiplier, "
            "logits_scaling)."
        )


def check_composition(rules: Rules, recipe: Any) -> None:
    """Two rules for the same thing are never put on top of each other unasked."""
    recipe = getattr(recipe, "recipe", recipe)
    law = getattr(getattr(recipe, "weight_decay", None), "law", "")
    if rules.scheme.run and (rules.batch_ratio, rules.tokens_ratio) != (1.0, 1.0) and law not in ("", "user"):
        raise ForescaleError(
            f"{rules.scheme.name} carries the base run's decay over to another batch and other tokens, and this recipe's "
            f"weight decay is already that of its own batch and tokens, by {law}: give the base run's numbers as a mapping, "
            "or leave batch_ratio and tokens_ratio out."
        )
