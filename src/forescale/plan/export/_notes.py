"""Notes that several targets share."""

from __future__ import annotations

from forescale.plan.export._values import Note, Numbers, loss, remark


def late_warmup(n: Numbers, trainer: str) -> tuple[Note, ...]:
    """For schedulers whose warmup factor at step k (from 0) is k / W, where the plan's is (k + 1) / W."""
    w = n.warmup_steps
    if not w:
        return ()
    if n.batches is not None:
        late = f"{trainer}'s warmup factor counts what was seen before a step (the plan: after it), one step late"
        return (remark(f"{late}: its first step runs at a learning rate of 0."),)
    return (
        remark(
            f"{trainer}'s warmup factor at step k is k / {w} (the plan: (k + 1) / {w}), one step late: its "
            f"first step runs at a learning rate of 0; from step {w} on the two are equal."
        ),
    )


def ranks(n: Numbers) -> Note:
    """The layout holds for one number of data-parallel ranks only."""
    return remark(
        f"the layout is for data-parallel ranks = {n.devices}: {n.sequences.value} sequences = {n.devices} (ranks) * "
        f"{n.micro_sequences.value} (micro-batch) * {n.accumulation.value} (accumulation); with other ranks plan again."
    )


def model_is_yours(n: Numbers, where: str) -> Note:
    """The plan invents neither a model nor data."""
    shape = "a shape but no tokenizer or data" if n.workload.shape is not None else "no model shape, tokenizer or data"
    return remark(f"the plan has {shape}: choose {where}.")


def init_not_carried(n: Numbers, instead: str) -> Note:
    """The target has no key for the initial standard deviation, or one without effect."""
    return loss(f"init_std {n.init_std.value} is not carried: {instead}.")


def init_in_part(n: Numbers, where: str) -> Note:
    """The target gives some weight matrices another initial standard deviation than the plan's."""
    return loss(f"init_std {n.init_std.value} is carried in part: {where}.")


def decays_vectors() -> Note:
    """The plan's weight decay is that of weight matrices; whether norms and biases decay is the target's business."""
    return remark("weight decay reaches every parameter, norms and biases too (the plan fixes that of matrices only).")
