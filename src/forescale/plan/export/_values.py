"""What an export is, and the plan's numbers in the units that trainers ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.plan._request import SCHEDULES
from forescale.plan._values import Plan
from forescale.plan.export._render import Item
from forescale.recipe import Value
from forescale.workload import Workload

if TYPE_CHECKING:
    from forescale.noise.schedule import BatchSchedule


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something the exported file does not say by its keys.

    A loss is a value of the recipe or a property of the model that the target does not get as planned: it is out of
    reach, reached in part or left to the target. A remark is a convention that shifts the learning rate by at most one
    optimizer step, something that the plan does not fix, or information. The plan's weight decay and initial standard
    deviation are those of every weight matrix, embedding and output included; for norms and biases it fixes neither.
    """

    message: str
    loss: bool

    def __str__(self) -> str:
        return f"NOT EXPORTED: {self.message}" if self.loss else self.message


@dataclass(frozen=True, kw_only=True)
class Export:
    """A plan as one file of a trainer: `text` is the whole file, `filename` a name to save it under."""

    target: str
    version: str
    filename: str
    text: str
    notes: tuple[Note, ...]

    @property
    def losses(self) -> tuple[str, ...]:
        """What the target does not get as planned; empty for an exact export."""
        return tuple(n.message for n in self.notes if n.loss)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Conventions within one optimizer step, what the plan does not fix, and information."""
        return tuple(n.message for n in self.notes if not n.loss)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An exporter's result: the file without its header."""

    filename: str
    lines: list[str]
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A plan's numbers with their laws as comments. Units: sequences, tokens, optimizer steps; `min_lr` is absolute."""

    workload: Workload
    schedule: str
    lr: Item
    min_ratio: Item
    min_lr: Item
    warmup: Item
    steps: Item
    weight_decay: Item
    beta1: Item
    beta2: Item
    betas: Item
    epsilon: Item
    clip: Item
    init_std: Item
    sequences: Item
    batch_tokens: Item
    total_tokens: Item
    seq_len: Item
    micro_sequences: Item
    micro_tokens: Item
    accumulation: Item
    devices: int
    batches: BatchSchedule | None  # where the batch changes along the run

    @property
    def warmup_steps(self) -> int:
        """Warmup as a plain count of optimizer steps."""
        return whole(self.warmup.value)

    @property
    def decay_steps(self) -> int:
        """Optimizer steps from the peak to the end."""
        return whole(self.steps.value) - self.warmup_steps


@dataclass(frozen=True, kw_only=True)
class Target:
    """A trainer: its name, the version whose keys are written, and the function that writes them."""

    name: str
    version: str
    draft: Callable[[Numbers], Draft]
    changes_batch: bool = False  # whether the draft writes a batch schedule


def loss(message: str) -> Note:
    """A note on a value or a property of the model that the target does not get as planned."""
    return Note(message=message, loss=True)


def remark(message: str) -> Note:
    """A note on a convention within one optimizer step, on what the plan does not fix, or information."""
    return Note(message=message, loss=False)


def whole(value: object) -> int:
    """`value` as an int; a programmer error if it is not a whole number."""
    assert isinstance(value, int | float), value
    assert value == int(value), value
    return int(value)


def numbers(plan: Plan) -> Numbers:
    """The plan in every unit a trainer may ask for. Raises `ForescaleError` for a schedule that is not exportable."""
    r, layout, seq_len = plan.recipe, plan.layout, plan.workload.seq_len
    schedule = str(r.schedule.value)
    if schedule not in SCHEDULES:
        raise ForescaleError(f"an export needs the schedule {' or '.join(SCHEDULES)}; this plan's is {schedule!r}.")
    sequences, steps = whole(r.batch_sequences.value), whole(r.steps.value)
    assert sequences == layout.sequences, (sequences, layout)
    assert r.batch_tokens.number == sequences * seq_len, r.batch_tokens
    return Numbers(
        workload=plan.workload,
        schedule=schedule,
        lr=_float(r.learning_rate),
        min_ratio=_float(r.final_lr_ratio),
        min_lr=Item(r.learning_rate.number * r.final_lr_ratio.number, "learning_rate * final_lr_ratio"),
        warmup=_int(r.warmup_steps),
        steps=_int(r.steps),
        weight_decay=_float(r.weight_decay),
        beta1=_float(r.beta1),
        beta2=_float(r.beta2),
        betas=Item((r.beta1.number, r.beta2.number), _laws(r.beta1, r.beta2)),
        epsilon=_float(r.epsilon),
        clip=_float(r.grad_clip),
        init_std=_float(r.init_std),
        sequences=_int(r.batch_sequences),
        batch_tokens=_int(r.batch_tokens),
        total_tokens=Item(steps * sequences * seq_len, "steps * batch_tokens"),
        seq_len=Item(seq_len, "workload"),
        micro_sequences=Item(layout.micro_batch, "layout: sequences a device takes at once"),
        micro_tokens=Item(layout.micro_batch * seq_len, "layout: micro_batch * seq_len tokens a device takes at once"),
        accumulation=Item(layout.accumulation, "layout: micro-batches a device accumulates before a step"),
        devices=layout.devices,
        batches=plan.batch_schedule,
    )


def _float(value: Value) -> Item:
    return Item(value.number, _laws(value))


def _int(value: Value) -> Item:
    return Item(whole(value.value), _laws(value))


def _laws(*values: Value) -> str:
    return ", ".join(dict.fromkeys(f"law: {v.law}" + (" (outside its range)" if v.outside else "") for v in values))
