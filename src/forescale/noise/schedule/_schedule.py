"""A batch size that changes along a run, as a value: a step function of the tokens seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from operator import index
from typing import Any

from forescale.errors import ForescaleError
from forescale.noise.schedule._steps import Steps, walk
from forescale.quantities import as_float, humanize, positive

LR_RULES = {"none": 0.0, "sqrt": 0.5}
"""How the learning rate follows the batch: the exponent of the batch's ratio."""

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """From `tokens` seen on, every optimizer step takes `sequences`."""

    tokens: int
    sequences: int


@dataclass(frozen=True, kw_only=True)
class BatchSchedule:
    """The batch as a function of the tokens seen; only up, unless `may_shrink`.

    Everything is in tokens, so that neither the run's length nor a learning rate schedule over tokens moves when the
    batch changes. `lr_rule` states what happens to the learning rate: `none`, or `sqrt` (times the square root of the
    batch's ratio, for Adam). Raises `ForescaleError` for stages that do not start at 0 or are out of order.
    """

    stages: tuple[Stage, ...]
    seq_len: int
    lr_rule: str = "none"
    may_shrink: bool = False
    reasons: tuple[str, ...] = ()  # where the stages come from, and what was rounded

    def __post_init__(self) -> None:
        if self.lr_rule not in LR_RULES:
            raise ForescaleError(f"lr_rule must be {' or '.join(LR_RULES)}; got {self.lr_rule!r}.")
        whole(self.seq_len, "seq_len")
        if not self.stages or self.stages[0].tokens != 0:
            first = self.stages[0].tokens if self.stages else "no stage"
            raise ForescaleError(f"a batch schedule starts at 0 tokens; got {first}: write 0:SEQUENCES first.")
        for stage in self.stages:
            whole(stage.sequences, "a batch in sequences")
        for before, after in pairwise(self.stages):
            _check_order(before, after, self.may_shrink)

    def sequences_at(self, tokens: float) -> int:
        """Sequences per optimizer step once `tokens` are seen."""
        if not as_float(tokens, "tokens") >= 0:
            raise ForescaleError(f"tokens seen must be 0 or more; got {tokens:g}.")
        return next(stage.sequences for stage in reversed(self.stages) if stage.tokens <= tokens)

    def batch_at(self, tokens: float) -> int:
        """Tokens per optimizer step once `tokens` are seen."""
        return self.sequences_at(tokens) * self.seq_len

    def lr_factor_at(self, tokens: float, reference_sequences: float | None = None) -> float:
        """What `lr_rule` multiplies the learning rate by, which was chosen for `reference_sequences` (None: the first)."""
        reference = self.stages[0].sequences if reference_sequences is None else reference_sequences
        return (self.sequences_at(tokens) / positive(reference, "reference_sequences")) ** LR_RULES[self.lr_rule]

    def steps(self, total_tokens: float) -> Steps:
        """The optimizer steps of a run that ends with the step that reaches `total_tokens`."""
        positive(total_tokens, "total_tokens")
        return walk([(stage.tokens, stage.sequences) for stage in self.stages], self.seq_len, math.ceil(total_tokens))

    def rounded(self, multiple: int) -> BatchSchedule:
        """The schedule in multiples of `multiple` sequences (micro-batch x ranks), the nearest, and what that changed."""
        whole(multiple, "multiple")
        nearest = [max(1, math.floor(s.sequences / multiple + 0.5)) * multiple for s in self.stages]
        moved = [(s.sequences, new) for s, new in zip(self.stages, nearest, strict=True) if s.sequences != new]
        if not moved:
            return self
        said = ", ".join(f"{old} to {new}" for old, new in moved[:4]) + (", ..." if len(moved) > 4 else "")
        reason = f"rounded to multiples of {multiple} sequences: {said}"
        stages = merged(replace(s, sequences=new) for s, new in zip(self.stages, nearest, strict=True))
        return replace(self, stages=stages, reasons=(*self.reasons, reason))

    def within(self, total_tokens: float) -> BatchSchedule:
        """The schedule itself; `ForescaleError` where its last change lies at or beyond the end of the run."""
        last = self.stages[-1].tokens
        if last >= positive(total_tokens, "total_tokens"):
            raise ForescaleError(
                f"the batch's last change must lie within the run; it is at {humanize(last)} tokens of "
                f"{humanize(total_tokens)}: leave it out, or train longer."
            )
        return self

    def over(self, total_tokens: float) -> Callable[[float], float]:
        """The batch in tokens over token progress in [0, 1]: `batch=` of `forescale.schedules.update_weights`."""
        positive(total_tokens, "total_tokens")
        return lambda progress: float(self.batch_at(progress * total_tokens))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, read back by `from_json`."""
        stages = [asdict(stage) for stage in self.stages]
        return {"schema_version": SCHEMA_VERSION, **vars(self), "stages": stages, "reasons": list(self.reasons)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BatchSchedule:
        """The schedule that `to_json` wrote; `ForescaleError` for anything else."""
        known = {key: value for key, value in content.items() if key != "schema_version"}
        try:
            stages = tuple(Stage(**stage) for stage in known.pop("stages"))
            return cls(stages=stages, reasons=tuple(known.pop("reasons", ())), **known)
        except (TypeError, KeyError) as error:
            raise ForescaleError(f"this is no batch schedule as to_json writes it ({error}).") from None


def merged(stages: Any) -> tuple[Stage, ...]:
    """Without the stages that change nothing; of two that start together the later one."""
    kept: list[Stage] = []
    for stage in stages:
        if kept and kept[-1].tokens == stage.tokens:
            kept.pop()
        if not kept or kept[-1].sequences != stage.sequences:
            kept.append(stage)
    return tuple(kept)


def whole(value: Any, name: str) -> int:
    """A whole number above zero."""
    try:
        number = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ForescaleError(f"{name} must be a whole number above zero; got {value!r}.")
    return number


def refuse_indivisible(stages: Sequence[Stage], devices: int, micro_batch: int) -> None:
    """Raise `ForescaleError` for a batch that is not a multiple of devices x micro-batch."""
    unit = devices * micro_batch
    if wrong := [str(stage.sequences) for stage in stages if stage.sequences % unit]:
        raise ForescaleError(
            f"every batch must be a multiple of {unit} sequences, {devices} (devices) x {micro_batch} (micro-batch); got "
            f"{', '.join(wrong[:4])}: round the schedule, or change the layout."
        )


def _check_order(before: Stage, after: Stage, may_shrink: bool) -> None:
    if after.tokens <= before.tokens:
        raise ForescaleError(
            f"the tokens of a batch schedule must increase strictly; got {before.tokens} and then {after.tokens}."
        )
    if after.sequences < before.sequences and not may_shrink:
        raise ForescaleError(
            f"a batch schedule only goes up; got {before.sequences} and then {after.sequences} sequences: leave the change "
            "out, or say may_shrink=True."
        )
