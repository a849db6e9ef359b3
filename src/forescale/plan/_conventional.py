"""What no scaling law predicts: conventions with their sources, unless a rule moves a reference run's values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from forescale.errors import ForescaleError
from forescale.laws import Law, conventions
from forescale.plan._predict import predict, user_value
from forescale.plan._request import Request
from forescale.recipe import Value
from forescale.workload import Workload


def optimizer_value(name: str, workload: Workload, laws: Mapping[str, Law], known: Mapping[str, float]) -> Value:
    """beta1, beta2 or epsilon: by a rule, where one was named and the reference run says enough, else the convention."""
    for quantity in (name, f"one_minus_{name}"):
        law = laws.get(quantity)
        if law is None:
            continue
        strict = not any(q in law.predicts for q in ("learning_rate", "weight_decay"))
        if not strict and f"reference_{quantity}" not in known:
            return convention(name)
        value = predict(law, quantity, workload, known)
        if quantity == name:
            return value
        return replace(value, value=1 - value.number, low=None, high=None, reason=f"1 - ({value.reason})")
    return convention(name)


def convention(name: str) -> Value:
    """The value that published recipes use, with the range that its sources span."""
    c = conventions()[name]
    return Value(
        value=c.value,
        low=c.low,
        high=c.high,
        reason=f"{c.reason} [{c.source}]",
        law="convention",
        evidence=c.evidence,
        interval="" if c.low is None else "the range that the sources use",
    )


def warmup_steps(request: Request, steps: int) -> Value:
    """The convention's steps, at most its share of the run."""
    if request.warmup_steps is not None:
        if not 0 <= request.warmup_steps < steps:
            raise ForescaleError(
                f"warmup_steps must be at least 0 and below the {steps} steps of the run; got {request.warmup_steps}."
            )
        return user_value(request.warmup_steps, "steps")
    most, share = convention("warmup_steps"), conventions()["warmup_share"]
    capped = math.floor(share.value * steps)
    if capped >= most.number:
        return replace(most, value=int(most.number), unit="steps")
    low = None if share.low is None else math.floor(share.low * steps)
    return replace(most, value=capped, low=low, high=capped, reason=f"{share.reason} [{share.source}]", unit="steps")


def schedule(request: Request) -> Value:
    """The decay after the warmup."""
    if request.schedule != "linear":
        return user_value(request.schedule)
    reason = (
        "linear warmup, then a straight line down: it ended about 0.1 % lower than cosine at every learning rate tried"
    )
    return Value(
        value="linear",
        reason=f"{reason} [Straight to Zero, arXiv:2502.15938]",
        law="convention",
        evidence="secondary",
    )


def final_lr_ratio(request: Request) -> Value:
    """Where the decay ends, as a share of the peak."""
    if request.final_lr_ratio is not None:
        return user_value(request.final_lr_ratio)
    value = convention("final_lr_ratio")
    if request.schedule == "linear":
        return value
    return replace(value, reason=f"decay to zero, as for the linear schedule that this was measured on: {value.reason}")


def init_std(workload: Workload) -> Value:
    """The standard deviation of the initial weights; with a width, beside litgpt's rule."""
    value = convention("init_std")
    if workload.shape is None:
        return value
    small = math.sqrt(2 / (5 * workload.shape.width))
    low, high = sorted((small, value.number))
    interval = f"between the convention and sqrt(2 / (5 width)) = {small:.3g}, litgpt's rule"
    return replace(value, low=low, high=high, interval=interval)
