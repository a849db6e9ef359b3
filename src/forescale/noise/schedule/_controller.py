"""The batch driven by a measured noise scale: a small state machine, pure from state to state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from forescale.errors import ForescaleError
from forescale.noise.schedule._schedule import LR_RULES, BatchSchedule, Stage, merged, whole
from forescale.quantities import as_float, humanize, positive


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of the batch: when, from and to how many sequences, and why."""

    tokens: int
    before: int
    after: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """Where the controller is; plain numbers, so that a checkpoint carries it."""

    sequences: int  # per optimizer step, now
    above: int = 0  # consecutive updates that asked for a larger batch
    tokens: int = 0  # seen at the last update
    last: str = "not updated yet"  # the last decision, and why
    first: int = 0  # sequences at the start (0: those now)
    changes: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, read back by `from_json`."""
        return {**vars(self), "changes": [asdict(change) for change in self.changes]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BatchState:
        """The state that `to_json` wrote; `ForescaleError` for anything else."""
        try:
            known = dict(content)
            changes = tuple(Change(**change) for change in known.pop("changes"))
            return cls(changes=changes, **known)
        except (TypeError, KeyError) as error:
            raise ForescaleError(f"this is no state of a batch controller as to_json writes it ({error}).") from None


@dataclass(frozen=True, kw_only=True)
class BatchController:
    """Raise the batch when the noise scale has grown enough: it wants `per_noise` x noise scale sequences.

    The noise scale underestimates the critical batch by orders of magnitude (Merrill et al. 2025, arXiv:2505.23971), so
    only its growth drives: `per_noise` says which batch was right at which noise scale (see `calibrated`). A batch goes up
    by `growth` once the wanted one was at least `margin` x growth times it in `patience` consecutive updates; it never goes
    down. Sequences must be multiples of `multiple` (micro-batch x ranks).
    """

    per_noise: float  # sequences per unit of noise scale
    growth: int = 2
    margin: float = 1.0  # of what the next batch needs: above 1, later
    patience: int = 3  # consecutive updates
    multiple: int = 1
    most: int | None = None  # sequences: the batch stays at or below
    lr_rule: str = "sqrt"

    def __post_init__(self) -> None:
        positive(self.per_noise, "per_noise")
        for name in ("growth", "patience", "multiple"):
            whole(getattr(self, name), name)
        if self.growth < 2:
            raise ForescaleError(f"growth is the factor of a change, a whole number from 2; got {self.growth}.")
        if as_float(self.margin, "margin") < 1:
            raise ForescaleError(
                f"margin must be 1 or more, or the batch would pass what is wanted; got {self.margin:g}."
            )
        if self.lr_rule not in LR_RULES:
            raise ForescaleError(f"lr_rule must be {' or '.join(LR_RULES)}; got {self.lr_rule!r}.")

    def start(self, sequences: int) -> BatchState:
        """The state at the first step; `ForescaleError` where the batch is not a multiple, or above the most."""
        if whole(sequences, "a batch in sequences") % self.multiple:
            raise ForescaleError(f"the batch must be a multiple of {self.multiple} sequences; got {sequences}.")
        if self.most is not None and sequences > self.most:
            raise ForescaleError(f"the batch must be at most {self.most} sequences; got {sequences}.")
        return BatchState(sequences=sequences, first=sequences)

    def next(self, state: BatchState, noise_scale: float, tokens: int) -> BatchState:
        """The state after one reading of the noise scale (sequences), at `tokens` seen; pure.

        A reading that is not a number above zero resolves nothing: it asks for no larger batch, and is said.
        """
        if tokens < state.tokens:
            raise ForescaleError(
                f"tokens seen must not go back; got {tokens} after {state.tokens}: resume from its state."
            )
        state = replace(state, tokens=int(tokens))
        if not (math.isfinite(noise_scale) and noise_scale > 0):
            return replace(
                state, above=0, last=f"kept {state.sequences}: the noise scale is not resolved ({noise_scale:g})"
            )
        after = state.sequences * self.growth
        if self.most is not None and after > self.most:
            return replace(state, above=0, last=f"kept {state.sequences}: {after} would pass the most, {self.most}")
        return self._decided(state, noise_scale, after)

    def _decided(self, state: BatchState, noise_scale: float, after: int) -> BatchState:
        wanted, needed = self.per_noise * noise_scale, self.margin * after
        said = f"noise scale {noise_scale:.4g} wants {wanted:.4g} sequences, {after} needs {needed:.4g}"
        if wanted < needed:
            return replace(state, above=0, last=f"kept {state.sequences}: {said}")
        if state.above + 1 < self.patience:
            waited = f"waits, {state.above + 1} of {self.patience} updates"
            return replace(state, above=state.above + 1, last=f"kept {state.sequences}: {said}; {waited}")
        reason = f"{said} in {self.patience} updates in a row; learning rate {self._lr_text()}"
        change = Change(tokens=state.tokens, before=state.sequences, after=after, reason=reason)
        last = f"{state.sequences} to {after} at {humanize(state.tokens)} tokens: {reason}"
        return replace(state, sequences=after, above=0, last=last, changes=(*state.changes, change))

    def lr_factor(self, state: BatchState) -> float:
        """What `lr_rule` multiplies the learning rate of the first batch by."""
        return (state.sequences / (state.first or state.sequences)) ** LR_RULES[self.lr_rule]

    def schedule(self, state: BatchState, seq_len: int) -> BatchSchedule:
        """What was decided so far, as a schedule that another run can follow."""
        first = Stage(tokens=0, sequences=state.first or state.sequences)
        stages = merged((first, *(Stage(tokens=c.tokens, sequences=c.after) for c in state.changes)))
        reason = f"driven by a measured noise scale, {self.per_noise:.4g} sequences per unit of it"
        return BatchSchedule(stages=stages, seq_len=seq_len, lr_rule=self.lr_rule, reasons=(reason,))

    def _lr_text(self) -> str:
        return "unchanged" if self.lr_rule == "none" else f"x {self.growth ** LR_RULES[self.lr_rule]:.4g}"


def calibrated(sequences: float, noise_scale: float, **options: Any) -> BatchController:
    """A controller for which `sequences` is the right batch at `noise_scale`: from a branched run, or the batch you trust.

    `options` are the other fields of `BatchController`. With a critical batch from `forescale critical-batch --branches` the
    rule is that of Merrill et al. 2025: double when the critical batch is twice the batch.
    """
    ratio = positive(sequences, "sequences") / positive(noise_scale, "noise_scale")
    return BatchController(per_noise=ratio, **options)
