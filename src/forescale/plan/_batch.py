"""Round a batch to what the devices take, and count the steps."""

from __future__ import annotations

import math

from forescale.errors import ForescaleError
from forescale.plan._values import Layout
from forescale.quantities import humanize
from forescale.workload import Workload


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
