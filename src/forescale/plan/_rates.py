"""Learning rate at the batch that was chosen, and weight decay from the averaging timescale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from forescale.errors import ForescaleError
from forescale.laws import Law
from forescale.plan._plateau import landscape_for
from forescale.plan._predict import predict, user_value
from forescale.plan._request import BATCH_RULES, Request
from forescale.quantities import humanize
from forescale.recipe import Value
from forescale.workload import Workload

# Within a quarter of an octave, rounding to the devices costs below 0.05 % of loss: the law's own value stands.
ROUNDING_OCTAVES = 0.25


def learning_rate(
    workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]
) -> tuple[Value, float]:
    """The peak learning rate, and the factor by which it followed a batch that is not the law's own (1: it did not)."""
    if request.learning_rate is not None:
        return user_value(request.learning_rate, "peak learning rate"), 1.0
    law = laws["learning_rate"]
    value = predict(law, "learning_rate", workload, known)
    inputs = law.formula("learning_rate").inputs
    if "batch_tokens" in inputs:
        reference = known.get("reference_batch_tokens", known["batch_tokens"])
        _check_usable("learning_rate", value.number, law.label)
        return value, known["batch_tokens"] / reference if law.kind == "rule" else 1.0
    if "batch_tokens" not in law.predicts:
        return value, 1.0
    own_batch = predict(law, "batch_tokens", workload, known).number
    away = known["batch_tokens"] / own_batch
    own_choice = request.batch_tokens is None and laws["batch_tokens"] == law
    if own_choice and abs(math.log2(away)) < ROUNDING_OCTAVES:
        return value, 1.0
    exponent, why = _batch_exponent(request.batch_rule, law, workload)
    factor = away**exponent
    _check_usable("learning_rate", value.number * factor, law.label)
    moved = replace(
        value,
        value=value.number * factor,
        low=None if value.low is None else value.low * factor,
        high=None if value.high is None else value.high * factor,
        reason=f"{value.reason}; x {factor:.3g} because the batch is {away:.3g} times the law's own "
        f"({humanize(own_batch)}): {why}",
    )
    return moved, factor


def _batch_exponent(rule: str, law: Law, workload: Workload) -> tuple[float, str]:
    exponent = BATCH_RULES[rule]
    if exponent is not None:
        return exponent, f"batch rule {rule}, exponent {exponent:g}"
    landscape, owner = landscape_for(law, workload)
    return (
        landscape.ridge,
        f"the best learning rate moves by {landscape.ridge:g} octaves an octave of batch ({owner.name})",
    )


def decay(
    workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]
) -> tuple[Value, Value]:
    """Timescale and weight decay, tied by timescale = B / (lr wd D) (Power Lines, arXiv:2505.13738)."""
    run = known["batch_tokens"] / (known["learning_rate"] * workload.tokens)  # timescale x weight decay
    if request.weight_decay is not None:
        given = user_value(request.weight_decay, "PyTorch AdamW weight decay")
        return _timescale_of(run, given), given
    if "weight_decay" in laws:
        predicted = predict(laws["weight_decay"], "weight_decay", workload, known)
        return _timescale_of(run, predicted), predicted
    timescale = predict(laws["timescale"], "timescale", workload, known)
    _check_usable("learning_rate x weight_decay", known["learning_rate"] * run / timescale.number, timescale.law)
    return timescale, replace(
        timescale,
        value=run / timescale.number,
        low=None if timescale.high is None else run / timescale.high,
        high=None if timescale.low is None else run / timescale.low,
        reason="B / (learning rate x timescale x D) at this learning rate, which is that of the hidden matrices",
        unit="PyTorch AdamW weight decay",
        interval="80 % of the timescale's fit alone: another learning rate moves the weight decay inversely",
    )


def _check_usable(name: str, value: float, law: str) -> None:
    """AdamW shrinks the weights by learning rate x weight decay a step: from 1 on it leaves nothing of them."""
    if not value < 1:
        raise ForescaleError(
            f"{name} must stay below 1 for AdamW; {law} gives {value:.3g} here: check the sizes, the batch and the reference run."
        )


def _timescale_of(run: float, weight_decay: Value) -> Value:
    return Value(
        value=run / weight_decay.number,
        reason="B / (learning rate x weight decay x D)",
        law="arithmetic",
        unit="share of the run",
    )
