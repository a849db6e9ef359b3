"""Batch schedules from what people publish: constants, ramps, doublings, Megatron-LM's text, laws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.noise.schedule._schedule import BatchSchedule, Stage, merged, whole
from forescale.quantities import humanize, parse_quantity, positive

if TYPE_CHECKING:
    from forescale.laws import Law
    from forescale.workload import Workload

OPTIMUM, BOUND = "batch_tokens", "critical_batch_tokens"
HALVINGS = 40


def constant(sequences: int, seq_len: int) -> BatchSchedule:
    """The same batch from the first step to the last."""
    reason = f"{sequences} sequences throughout"
    return BatchSchedule(stages=(Stage(tokens=0, sequences=sequences),), seq_len=seq_len, reasons=(reason,))


def linear(first: int, last: int, total_tokens: float, seq_len: int, *, multiple: int = 1) -> BatchSchedule:
    """From `first` to `last` sequences linearly in tokens, rounded up to whole multiples: nanoGNS's ramp.

    With 16, 120, multiples of 8 and 2,219,950,080 tokens it is the schedule of nanoGNS's repository (micro-batches of 8,
    rounded up, learning rate a function of tokens alone), step by step. Both ends must be multiples.
    """
    positive(total_tokens, "total_tokens")
    for value in (first, last):
        if whole(value, "a batch in sequences") % whole(multiple, "multiple"):
            raise ForescaleError(f"a linear ramp's ends must be multiples of {multiple} sequences; got {value}.")
    low, high = first // multiple, last // multiple
    if high < low:
        raise ForescaleError(f"a linear ramp goes up; got {first} to {last} sequences: turn them round.")
    # The ramp passes `low + i` after i / (high - low) of the tokens; beyond that, rounding up takes one more.
    rise = Fraction(total_tokens) / max(high - low, 1)
    starts = [0, *(math.floor(i * rise) + 1 for i in range(high - low))]
    stages = [Stage(tokens=start, sequences=(low + i) * multiple) for i, start in enumerate(starts)]
    reason = f"linear in tokens from {first} to {last} sequences over {humanize(total_tokens)} tokens, rounded up"
    return BatchSchedule(stages=tuple(stages), seq_len=seq_len, reasons=(f"{reason} to multiples of {multiple}",))


def doubling(first: int, at: Sequence[float], seq_len: int) -> BatchSchedule:
    """`first` sequences, twice as many at each of the tokens `at`, the learning rate times sqrt(2): Merrill et al. 2025.

    OLMo-core's callback changes the learning rate by the same rule (arXiv:2505.23971; 1024 at 0, 168B and 503B tokens).
    """
    starts = [0, *(math.ceil(positive(tokens, "tokens of a doubling")) for tokens in at)]
    stages = merged(Stage(tokens=start, sequences=first * 2**i) for i, start in enumerate(starts))
    where = ", ".join(humanize(tokens) for tokens in at) or "no point"
    reason = f"{first} sequences, doubled at {where} tokens; learning rate x sqrt(2) each time"
    return BatchSchedule(stages=stages, seq_len=seq_len, lr_rule="sqrt", reasons=(reason,))


def parse(text: str, seq_len: int) -> BatchSchedule:
    """Megatron-LM's text, as in `0:768 250B:1536 500B:3072`: from so many tokens on, so many sequences.

    Thresholds count tokens, with K, M, B or T, and take effect at the whole sequence below them, as Megatron-LM has it. A
    batch may go down, since it may there. Raises `ForescaleError` for anything that Megatron-LM would refuse.
    """
    stages = tuple(_entry(entry, whole(seq_len, "seq_len")) for entry in text.replace(",", " ").split())
    if not stages:
        raise ForescaleError("a batch schedule needs one stage at least; got an empty text: write 0:SEQUENCES.")
    return BatchSchedule(
        stages=stages, seq_len=seq_len, may_shrink=True, reasons=(f"as given: {' '.join(text.split())}",)
    )


def _entry(text: str, seq_len: int) -> Stage:
    threshold, colon, batch = text.partition(":")
    if not colon or not threshold or not batch:
        raise ForescaleError(f"a stage of a batch schedule is TOKENS:SEQUENCES, as in 250B:1536; got {text!r}.")
    tokens = 0.0 if threshold.strip("0") == "" else parse_quantity(threshold, "the tokens of a stage")
    sequences = parse_quantity(batch, "the batch of a stage")
    if sequences != int(sequences):
        raise ForescaleError(f"a batch counts whole sequences; got {batch} in {text!r}.")
    return Stage(tokens=int(tokens) // seq_len * seq_len, sequences=int(sequences))


def from_law(
    law: Law, workload: Workload, last: int, *, multiple: int = 1, quantity: str | None = None
) -> BatchSchedule:
    """Powers of two up to `last` sequences, each from where the law at D = tokens seen so far asks for it.

    `quantity` is batch_tokens (an optimum: the nearest power of two, by ratio) or critical_batch_tokens (a bound: a batch
    is taken once the law has reached it, as Merrill et al. 2025 double when the critical batch is twice the batch); None:
    the first that the law has. Such laws were measured across runs that ended at D, each with a schedule of its own; that
    a run on its way through D wants the same batch is an assumption, and the reasons say so.
    Raises `ForescaleError` where the law has neither quantity or does not depend on tokens.
    """
    quantity = quantity or next((q for q in (OPTIMUM, BOUND) if q in law.predicts), OPTIMUM)
    formula = law.formula(quantity)
    if quantity not in (OPTIMUM, BOUND):
        raise ForescaleError(f"a batch schedule follows {OPTIMUM} or {BOUND}; got {quantity!r}.")
    if not _grows(law, workload, quantity):
        raise ForescaleError(
            f"a batch schedule needs a law that grows with tokens; {law.name}'s {quantity} is {formula.text()}: name "
            "another law, or write the stages."
        )
    share = 1.0 if quantity == BOUND else math.sqrt(0.5)
    stages = merged(_law_stages(law, workload, quantity, _powers(last, multiple), share))
    return BatchSchedule(stages=stages, seq_len=workload.seq_len, reasons=tuple(_law_reasons(law, quantity)))


def _powers(last: int, multiple: int) -> list[int]:
    """`last` and its halves, as long as they are whole multiples; ascending."""
    if whole(last, "the last batch") % whole(multiple, "multiple"):
        raise ForescaleError(f"the last batch must be a multiple of {multiple} sequences; got {last}.")
    many = last // multiple
    halvings = (many & -many).bit_length() - 1
    return [last >> i for i in range(halvings, -1, -1)]


def _law_stages(law: Law, workload: Workload, quantity: str, batches: Sequence[int], share: float) -> Iterator[Stage]:
    yield Stage(tokens=0, sequences=batches[0])
    for batch in batches[1:]:
        wanted = share * batch * workload.seq_len
        if _value(law, workload, quantity, workload.tokens) < wanted:
            return  # the law does not ask for it in this run
        yield Stage(tokens=_reached(law, workload, quantity, wanted), sequences=batch)


def _reached(law: Law, workload: Workload, quantity: str, wanted: float) -> int:
    """The tokens from which on the law is at or above `wanted`, by bisection; 0 if from the first sequence on."""
    low, high = math.log(workload.seq_len), math.log(workload.tokens)
    if _value(law, workload, quantity, workload.seq_len) >= wanted:
        return 0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _value(law, workload, quantity, math.exp(middle)) >= wanted else (middle, high)
    return math.ceil(math.exp(high))


def _grows(law: Law, workload: Workload, quantity: str) -> bool:
    half, whole_run = (_value(law, workload, quantity, workload.tokens * share) for share in (0.5, 1.0))
    return whole_run > half


def _value(law: Law, workload: Workload, quantity: str, tokens: float) -> float:
    """The law's batch of the run that would end here: what grows with the tokens is a share of the whole run's."""
    from forescale.laws import variables

    x = variables(workload, law)
    there = {name: x[name] * tokens / workload.tokens for name in ("tokens", "tokens_per_param", "compute")}
    return float(law.predict(quantity, **{**x, **there, "unique_tokens": min(x["unique_tokens"], tokens)}))


def _law_reasons(law: Law, quantity: str) -> Iterator[str]:
    formula = law.formula(quantity)
    how = "each once the law reaches it" if quantity == BOUND else "the nearest by ratio"
    yield f"{law.title} ({law.label}): {quantity} = {formula.text()} {formula.unit}, D = tokens seen so far"
    yield f"halves of the last batch that the devices take, {how}"
    yield "the law was measured across finished runs of D tokens; within one run its batch at D is an assumption"
    if formula.unverified or formula.evidence == "unverified":
        yield f"unverified: {', '.join(formula.unverified) or 'the constants'} of {law.label}"
