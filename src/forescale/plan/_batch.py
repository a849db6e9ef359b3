"""The batch: what is asked for, what the devices take, and the steps that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from forescale.errors import ForescaleError
from forescale.laws import Law
from forescale.plan._predict import predict, user_value
from forescale.plan._request import Request
from forescale.plan._values import Layout
from forescale.quantities import humanize
from forescale.recipe import Value
from forescale.workload import Workload


def batch_target(workload: Workload, request: Request, laws: Mapping[str, Law], known: Mapping[str, float]) -> Value:
    """The batch in tokens before it is rounded to the devices."""
    if request.batch_tokens is None:
        return predict(laws["batch_tokens"], "batch_tokens", workload, known)
    if request.batch_tokens < workload.seq_len:
        raise ForescaleError(
            f"a batch must hold at least one sequence of {workload.seq_len} tokens; got {request.batch_tokens:g} tokens: "
            "give the batch in tokens, or a shorter --seq-len."
        )
    return user_value(request.batch_tokens, "tokens")


def lay_out(workload: Workload, target_tokens: float, devices: int, micro_batch: int) -> Layout:
    """The layout whose batch is nearest to the target in sequences; raise if the run has not one such step."""
    for name, value in (("devices", devices), ("micro_batch", micro_batch)):
        if not 1 <= value <= 10**7:
            raise ForescaleError(f"{name} must be a whole number from 1 to 10 million; got {value}.")
    if target_tokens > workload.tokens:
        raise ForescaleError(
            f"a batch must not exceed the run: {humanize(target_tokens)} tokens a step, "
            f"{humanize(workload.tokens)} tokens in all; lower --batch or raise --tokens."
        )
    unit = devices * micro_batch * workload.seq_len
    layout = Layout(
        devices=devices,
        micro_batch=micro_batch,
        # Half rounds up, not to even, so that doubling every size doubles the layout.
        accumulation=max(1, math.floor(target_tokens / unit + 0.5)),
        target_tokens=target_tokens,
    )
    if layout.sequences * workload.seq_len > workload.tokens:
        raise ForescaleError(
            f"the run has fewer tokens ({humanize(workload.tokens)}) than its smallest batch: {devices} devices x "
            f"{micro_batch} sequences x {workload.seq_len} tokens; use fewer devices, a smaller --micro-batch or more tokens."
        )
    return layout


def count_steps(workload: Workload, layout: Layout) -> int:
    """Whole optimizer steps that the tokens allow."""
    return math.floor(workload.tokens / (layout.sequences * workload.seq_len) * (1 + 1e-12))


def batch_values(workload: Workload, target: Value, layout: Layout) -> tuple[Value, Value, Value]:
    """The rounded batch in tokens and in sequences, and the steps, with the target's interval."""
    tokens, steps = layout.sequences * workload.seq_len, count_steps(workload, layout)
    shape = f"{layout.devices} (devices) x {layout.micro_batch} (micro-batch) x {layout.accumulation} (accumulated)"
    rounded = (
        f"target {humanize(target.number, 4)}, {tokens / target.number - 1:+.1%} after rounding to {shape} sequences"
    )
    batch = replace(target, value=tokens, unit="tokens", reason=f"{target.reason}; {rounded}")
    low, high = (None if v is None else v / workload.seq_len for v in (target.low, target.high))
    sequences = replace(
        batch, value=layout.sequences, low=low, high=high, unit="sequences", reason=f"batch_tokens / {workload.seq_len}"
    )
    left = workload.tokens - steps * tokens
    steps_value = Value(
        value=steps,
        # More tokens a step are fewer steps: the batch's interval, turned round.
        low=None if target.high is None else max(1.0, workload.tokens / max(target.high, tokens)),
        high=None if target.low is None else workload.tokens / min(target.low, tokens),
        reason=f"tokens / batch_tokens, whole steps ({humanize(left)} tokens left over)",
        law="arithmetic",
        unit="steps",
        interval="from the interval of the batch",
    )
    return batch, sequences, steps_value
