"""A parametrization at work: rules from the base to the model at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from forescale.errors import ForescaleError
from forescale.parametrize._checks import check_branches, check_composition, check_frozen, check_model
from forescale.parametrize._factors import Factors, absorb
from forescale.parametrize._model import Model, read_model
from forescale.parametrize._recipe import Hyperparameters, read_hyperparameters
from forescale.parametrize._roles import Tensor, find_tensors
from forescale.parametrize._scales import Scales
from forescale.parametrize._table import Table, make_table
from forescale.workload import Shape


class Scheme(Protocol):
    """What a scheme answers; its forms are `Family`, `Everett` and `UMup`."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def depth(self) -> bool: ...
    @property
    def run(self) -> bool: ...
    @property
    def sparse(self) -> bool: ...
    @property
    def absolute_std(self) -> bool: ...
    @property
    def optimizer(self) -> str: ...
    def residual(self, scales: Scales) -> float: ...
    def logits(self, scales: Scales) -> float: ...
    def momentum(self, scales: Scales) -> float: ...
    def factors(self, tensor: Tensor, scales: Scales, density: float) -> Factors: ...


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One tensor with its factors, multipliers of the forward absorbed."""

    tensor: Tensor
    factors: Factors
    absorbed: float  # the multiplier that it took over; 1: none
    init_std: float | None  # of normal values around 0; None for gains and biases
    init_value: float  # of every element, where there is no std
    density: float


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A scheme, its base and what the caller declared; made by `parametrization`.

    Raises `ForescaleError` for a model that it has no rule for: unknown names, shared tensors, no residual branch under a
    scheme that scales the depth, another head size under one that scales the width.
    """

    scheme: Scheme
    base: Shape
    init_std: float = 0.02  # at the base
    batch_ratio: float = 1.0  # m_B
    tokens_ratio: float = 1.0  # m_D
    density: float | Mapping[str, float] = 1.0  # share of weights kept; by name (globs) where it differs
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    zero_readout: bool = False
    attention_scaled: bool = False  # the caller has set the attention scale for another head size
    base_multipliers: Mapping[str, float] = field(default_factory=dict[str, float])

    def param_groups(
        self, model: Any, recipe: Any, *, optimizer: str = "adamw", decay_embeddings: bool = True
    ) -> list[dict[str, Any]]:
        """Groups of parameters with equal settings, as plain dicts for any optimizer.

        `recipe` (a `Recipe`, a plan, or a mapping with learning_rate, ...) holds what is right at the base. Every group has
        params, param_names, lr, lr_scale (lr over the recipe's) and weight_decay; eps and betas as the optimizer takes them:
        adamw, adam-atan2 and lion (no eps), sgd and adafactor (neither), muon (key `optimizer` says which groups are Muon's,
        the matrices in blocks, and which AdamW's).
        Norms and biases are not decayed. Parameters that are frozen are in no group.
        """
        from forescale.parametrize._groups import make_groups

        recipe_ = read_hyperparameters(recipe)
        check_composition(self, recipe)
        return make_groups(self, model, recipe_, optimizer, decay_embeddings)

    def initialize_(self, model: Any, seed: int = 0) -> None:
        """Draw every trainable parameter anew, in place: normal matrices, gains of one, biases of zero.

        A tensor's values depend on `seed` and its name alone: the same before and after wrapping or sharding.
        """
        from forescale.parametrize._initialize import initialize

        initialize(self, model, seed)

    def table(self, model: Any, recipe: Any = None) -> Table:
        """Every tensor's role, shape, absorbed multiplier, initial std, learning rate, decay and epsilon; print it.

        Without a recipe the last three are factors on the base's.
        """
        known = None if recipe is None else read_hyperparameters(recipe)
        return make_table(self, self.rules(model), read_model(model, self.tensors(model)), known)

    def tensors(self, model: Any) -> tuple[Tensor, ...]:
        """Every parameter with its role."""
        return find_tensors(model, self.roles)

    def scales(self, model: Model) -> Scales:
        """How much larger the model is than the base."""
        return Scales(
            width=model.width / self.base.width,
            depth=model.layers / self.base.layers if self.scheme.depth and not self.scheme.absolute_std else 1.0,
            batch=self.batch_ratio,
            tokens=self.tokens_ratio,
            layers=model.layers,
        )

    def betas(self, recipe: Hyperparameters, scales: Scales) -> tuple[float, float]:
        """AdamW's betas: 1 - beta grows with the batch and falls with the tokens (Complete(d)P)."""
        factor = self.scheme.momentum(scales)
        for name, beta in (("beta1", recipe.beta1), ("beta2", recipe.beta2)):
            if (1 - beta) * factor >= 1:
                raise ForescaleError(
                    f"1 - {name} must stay below 1; {self.scheme.name} makes it {(1 - beta) * factor:.3g} at batch_ratio "
                    f"{self.batch_ratio:g} and tokens_ratio {self.tokens_ratio:g}: use a smaller batch or a longer run."
                )
        if factor == 1:
            return recipe.beta1, recipe.beta2
        return 1 - (1 - recipe.beta1) * factor, 1 - (1 - recipe.beta2) * factor

    def rules(self, model: Any) -> tuple[Rule, ...]:
        """The rule of every tensor."""
        read = read_model(model, self.tensors(model))
        check_model(self, read)
        scales = self.scales(read)
        residual, logits = self.left_to_absorb(read)
        if residual != 1:
            check_branches(self, read)
        tensors = _with_readout(read.tensors, logits)
        made = tuple(self._rule(t, scales, residual, logits) for t in tensors)
        check_frozen(made)
        return made

    def left_to_absorb(self, model: Model) -> tuple[float, float]:
        """The multipliers of residual branches and logits that the model's forward does not have itself."""
        if self.scheme.name == "standard":
            return 1.0, 1.0
        scales, tied = self.scales(model), any(t.tied for t in model.tensors)
        logits = self.scheme.logits(scales) if tied or self.scheme.name != "everett" else 1.0
        base = self.base_multipliers
        # A scheme that leaves the depth alone leaves the model's own residual multiplier alone, too.
        residual = (
            self.scheme.residual(scales) * base.get("residual", 1.0) / model.residual if self.scheme.depth else 1.0
        )
        return residual, logits * base.get("logits", 1.0) / model.logits

    def _rule(self, tensor: Tensor, scales: Scales, residual: float, logits: float) -> Rule:
        multiplier = {"residual": residual, "logits": logits, "": 1.0}[tensor.carries]
        density = self._density(tensor)
        factors = absorb(self.scheme.factors(tensor, scales, density), multiplier, self.scheme.optimizer)
        base_std = 1.0 if self.scheme.absolute_std else self.init_std
        std = factors.init_std * base_std if tensor.is_matrix else None
        if tensor.role == "unembedding" and self.zero_readout:
            std = 0.0
        ones = tensor.role in ("norm", "qk_norm") and not tensor.name.endswith("bias")
        value = (multiplier - 1.0 if tensor.unit_offset else multiplier) if ones else 0.0
        return Rule(
            tensor=tensor, factors=factors, absorbed=multiplier, init_std=std, init_value=value, density=density
        )

    def _density(self, tensor: Tensor) -> float:
        """Of the weights of a matrix in a block; everything else is dense."""
        if tensor.role not in ("hidden", "residual_output", "expert"):
            return 1.0
        if not isinstance(self.density, Mapping):
            return self.density
        from fnmatch import fnmatchcase

        return next((rho for pattern, rho in self.density.items() if fnmatchcase(tensor.name, pattern)), 1.0)


def _with_readout(tensors: tuple[Tensor, ...], logits: float) -> list[Tensor]:
    """Say who takes over the multiplier of the logits: the unembedding, or the final norm where the matrix is tied."""
    if logits == 1:
        return list(tensors)
    if any(t.role == "unembedding" for t in tensors):
        return [replace(t, carries="logits") if t.role == "unembedding" else t for t in tensors]
    finals = [t for t in tensors if t.role == "norm" and not t.in_block]
    gains = [t for t in finals if not t.name.endswith("bias")]
    if len(gains) != 1:
        found = ", ".join(t.name for t in gains) or "none"
        raise ForescaleError(
            "a tied matrix cannot take over the multiplier of the logits, so the gain of the one norm before them does; "
            f"norms with a gain outside the blocks: {found}. Untie the embedding, or give the final norm a gain."
        )
    return [replace(t, carries="logits") if t in finals else t for t in tensors]
