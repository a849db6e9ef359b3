"""A batch schedule in the terms of trainers: Megatron-LM's text, OLMo-core's lists, levanter's list."""

from __future__ import annotations

from itertools import pairwise

from forescale.errors import ForescaleError
from forescale.noise.schedule._schedule import BatchSchedule


def megatron_text(schedule: BatchSchedule) -> str:
    """The value of Megatron-LM's `--step-batch-size-schedule`, in tokens (its `--seq-length` is set).

    It rounds tokens down to whole sequences; those written are whole sequences already, rounded up, which is when the
    first step with the new batch starts.
    """
    seq_len = schedule.seq_len
    return " ".join(f"{-(-s.tokens // seq_len) * seq_len}:{s.sequences}" for s in schedule.stages)


def olmo_core_lists(schedule: BatchSchedule) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`batch_sizes` (tokens) and the tokens of `schedule` of OLMo-core's BatchSizeSchedulerCallback.

    Raises `ForescaleError` where a change is not by an integer factor, which OLMo-core refuses.
    """
    for before, after in pairwise(schedule.stages):
        if max(before.sequences, after.sequences) % min(before.sequences, after.sequences):
            raise ForescaleError(
                f"OLMo-core changes a batch by an integer factor only; got {before.sequences} and then {after.sequences} "
                "sequences: use doublings, as in double:1024:168B,503B."
            )
    batches = tuple(stage.sequences * schedule.seq_len for stage in schedule.stages)
    return batches, tuple(stage.tokens for stage in schedule.stages)


def levanter_list(schedule: BatchSchedule, total_tokens: float) -> tuple[dict[str, int], ...]:
    """What levanter takes as `train_batch_size`: from optimizer step `start` on, `value` sequences."""
    blocks = schedule.steps(total_tokens).blocks
    return tuple({"start": block.step, "value": block.sequences} for block in blocks)
