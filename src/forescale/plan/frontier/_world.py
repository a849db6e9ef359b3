"""The two laws as functions of arrays: loss at a small batch, and what a larger batch costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from forescale.errors import ForescaleError
from forescale.laws import Formula, Law, law
from forescale.plan._choose import default_loss_law
from forescale.plan.frontier._goal import Goal

Array = Any
QUANTITIES = ("loss", "critical_batch_tokens")
DEFAULT_CRITICAL_LAW = "zhang-refit"
LEAST_TOKENS, MOST_TOKENS = 1e6, 1e20  # where tokens are looked for
BISECTIONS, POLISHES, NEWTON_STEPS = 14, 3, 8
NUDGE = 1e-4  # of a logarithm, for a slope


@dataclass(frozen=True, kw_only=True)
class World:
    """Loss and critical batch of a dense model of N parameters whose tokens count D_min at a small batch.

    Tokens really needed: D = D_min (1 + B / B_crit(D_min)) (McCandlish et al. 2018, 1812.06162; Bergsma et al. 2025,
    2505.13738). All functions take arrays that broadcast; no value is infinite loss, or infinitely many tokens.
    """

    loss_law: Law
    critical_law: Law
    unique_tokens: float | None = None

    def loss(self, params: Array, tokens: Array) -> Array:
        """Nats per token."""
        return _value(self.loss_law.formula("loss"), self.variables(params, tokens))

    def critical(self, params: Array, tokens: Array) -> Array:
        """Critical batch in tokens."""
        formula = self.critical_law.formula("critical_batch_tokens")
        x = self.variables(params, tokens)
        if "loss" in formula.inputs:
            x["loss"] = self.loss(params, tokens)
        return _value(formula, x)

    def least_tokens(self, params: Array, loss: Array) -> Array:
        """D_min that reaches the loss, by bisection and then Newton; infinite where no number of tokens does."""
        import numpy as np

        params, loss = np.broadcast_arrays(np.asarray(params, dtype=float), np.asarray(loss, dtype=float))
        low, high = (np.full(params.shape, np.log(end)) for end in (LEAST_TOKENS, MOST_TOKENS))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            enough = self.loss(params, np.exp(middle)) <= loss
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        x = (low + high) / 2
        for _ in range(POLISHES):
            here, beside = (np.log(self.loss(params, np.exp(x + step))) for step in (0.0, NUDGE))
            slope = np.minimum((beside - here) / NUDGE, -1e-12)  # a loss falls with tokens, or has no more to give
            x = np.clip(x - (here - np.log(loss)) / slope, low, high)
        return np.where(self.loss(params, MOST_TOKENS) <= loss, np.exp(x), np.inf)

    def small_batch_tokens(self, params: Array, tokens: Array, batch: Array, steps: int = NEWTON_STEPS) -> Array:
        """D_min of a run of so many tokens at batch B: the inverse of D = D_min (1 + B / B_crit(D_min)), by Newton."""
        import numpy as np

        wanted = np.log(tokens)
        x = wanted - np.log1p(batch / self.critical(params, tokens))
        for _ in range(steps):
            critical, beside = (self.critical(params, np.exp(x + step)) for step in (0.0, NUDGE))
            miss = x + np.log1p(batch / critical) - wanted
            slope = 1 - np.log(beside / critical) / NUDGE * batch / (batch + critical)
            # At a few tokens a law of the loss may ask for more of them the fewer there are: stay above one, below all.
            x = np.clip(x - miss / np.maximum(slope, 0.1), 0, wanted)
        return np.exp(x)

    def variables(self, params: Array, tokens: Array) -> dict[str, Array]:
        """What a law may ask of a dense model."""
        import numpy as np

        unique = tokens if self.unique_tokens is None else np.minimum(self.unique_tokens, tokens)
        return {
            "params": params,
            "active_params": params,
            "nonzero_params": params,
            "active_share": 1.0,
            "sparsity": 0.0,
            "tokens": tokens,
            "unique_tokens": unique,
            "tokens_per_param": tokens / params,
            "flops_per_token": 6 * params,
            "compute": 6 * params * tokens,
        }


def world(goal: Goal) -> World:
    """The laws that the goal names, or the defaults: both verified."""
    chosen = {"loss": law(default_loss_law(goal.unique_tokens)), "critical_batch_tokens": law(DEFAULT_CRITICAL_LAW)}
    chosen |= _asked(goal.laws)
    made = World(
        loss_law=chosen["loss"], critical_law=chosen["critical_batch_tokens"], unique_tokens=goal.unique_tokens
    )
    _check(made)
    return made


def _asked(laws: Iterable[str]) -> dict[str, Law]:
    own: dict[str, Law] = {}
    for text in laws:
        quantity, _, name = text.rpartition("=")
        found = law(name)
        if quantity and quantity not in QUANTITIES:
            raise ForescaleError(f"a frontier takes laws for {' and '.join(QUANTITIES)}; got {quantity!r}.")
        names = (quantity,) if quantity else tuple(q for q in QUANTITIES if q in found.predicts)
        if not names:
            raise ForescaleError(
                f"law {name} predicts {', '.join(found.predicts)}; a frontier needs {' or '.join(QUANTITIES)}."
            )
        for q in names:
            found.formula(q)
            if q in own and own[q] != found:
                raise ForescaleError(f"two laws are named for {q}: {own[q].name} and {found.name}; name one.")
            own[q] = found
    return own


def _check(made: World) -> None:
    """Refuse laws that cannot span a frontier, and an option that they would ignore."""
    inputs = made.loss_law.formula("loss").inputs
    if not {"params", "nonzero_params"} & set(inputs) or "tokens" not in inputs:
        raise ForescaleError(
            f"law {made.loss_law.name} gives the loss of {', '.join(inputs)}: a frontier needs one of both params and tokens."
        )
    known = {*made.variables(1e9, 1e10), "loss"}
    for one, quantity in ((made.loss_law, "loss"), (made.critical_law, "critical_batch_tokens")):
        if missing := [n for n in one.formula(quantity).inputs if n not in known]:
            raise ForescaleError(f"law {one.name} needs {', '.join(missing)}, which a frontier does not have.")
    if made.unique_tokens is not None and "unique_tokens" not in inputs:
        raise ForescaleError(
            f"law {made.loss_law.name} does not know repeated data, so --unique-tokens would be ignored: name a law that "
            "does (muennighoff)."
        )


def _value(formula: Formula, x: dict[str, Array]) -> Array:
    """The formula on arrays; what is no positive number becomes infinite."""
    import numpy as np

    with np.errstate(all="ignore"):
        value = np.asarray(formula.evaluate(x), dtype=float)
    return np.where(np.isfinite(value) & (value > 0), value, np.inf)
