"""What the writers of a batch schedule share: its numbers in words, and what a trainer does not do with the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from forescale.plan.export._render import Item
from forescale.plan.export._values import Note, Numbers, loss, remark, whole

if TYPE_CHECKING:
    from forescale.noise.schedule import BatchSchedule, Steps


def in_words(n: Numbers) -> Iterator[str]:
    """The schedule, for the head of the file; nothing where the batch is constant."""
    if n.batches is None:
        return
    from forescale.noise.schedule import megatron_text

    steps = steps_of(n, n.batches)
    yield (
        f"Batch schedule (tokens:sequences): {megatron_text(n.batches)}; {steps.count} optimizer steps, mean batch "
        f"{steps.mean_sequences:.6g} sequences; learning rate rule: {n.batches.lr_rule}. {'. '.join(n.batches.reasons)}."
    )


def steps_of(n: Numbers, batches: BatchSchedule) -> Steps:
    """The optimizer steps of the run."""
    return batches.steps(whole(n.total_tokens.value))


def warmup_tokens(n: Numbers) -> Item:
    """The warmup in tokens: its steps at the recipe's batch."""
    return Item(n.warmup_steps * whole(n.batch_tokens.value), "warmup_steps * batch_tokens")


def constant_batch(n: Numbers, trainer: str) -> Note:
    """For targets that this package writes no batch schedule for."""
    return loss(
        f"the batch schedule is not carried: {trainer} gets {n.sequences.value} sequences throughout, in {n.steps.value} steps."
    )


def rate_not_followed(batches: BatchSchedule, trainer: str) -> tuple[Note, ...]:
    """For trainers that change the batch and not the learning rate."""
    if batches.lr_rule == "none":
        return ()
    return (
        loss(f"the learning rate rule {batches.lr_rule!r} is not carried: {trainer} keeps it when the batch changes."),
    )


def divisible(n: Numbers, batches: BatchSchedule) -> Note:
    """For which ranks the schedule holds; `ForescaleError` where a batch does not divide."""
    from forescale.noise.schedule import refuse_indivisible

    unit = n.devices * whole(n.micro_sequences.value)
    refuse_indivisible(batches.stages, n.devices, whole(n.micro_sequences.value))
    return remark(f"every batch of the schedule is a multiple of {unit} sequences, {n.devices} (ranks) * micro-batch.")
