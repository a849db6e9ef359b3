"""A batch schedule from one text, as a command line has it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.noise.schedule._make import doubling, from_law, linear, parse
from forescale.noise.schedule._schedule import BatchSchedule, refuse_indivisible
from forescale.quantities import parse_quantity

if TYPE_CHECKING:
    from forescale.workload import Workload

FORMS = "0:768 250B:1536, linear:16:120, double:1024:168B,503B, or LAW[:critical_batch_tokens]"


def batch_schedule(
    text: str, workload: Workload, last: int, *, devices: int = 1, micro_batch: int = 1, lr_rule: str | None = None
) -> BatchSchedule:
    """Read a schedule for a run of `workload`: Megatron-LM's text, `linear:FIRST:LAST`, `double:FIRST:TOKENS,...`, a law.

    Batches are in sequences and must be multiples of devices x micro_batch. A law goes up to `last` sequences, the plan's
    batch. `lr_rule` None: sqrt for `double` (as published), none for the others. Raises `ForescaleError` for a text that is
    none of these, a batch that the devices do not take, a change beyond the run.
    """
    head, _, rest = text.strip().partition(":")
    unit = devices * micro_batch
    if head == "linear":
        first, end = _numbers(rest, ":", 2, "linear:FIRST:LAST, in sequences, as in linear:16:120")
        made = linear(int(first), int(end), workload.tokens, workload.seq_len, multiple=unit)
    elif head == "double":
        first, at = _doubling(rest)
        made = doubling(first, at, workload.seq_len)
    elif re.match(r"[0-9]", head):
        made = parse(text, workload.seq_len)
    else:
        made = _from_law(text.strip(), workload, last, unit)
    refuse_indivisible(made.stages, devices, micro_batch)
    return (made if lr_rule is None else replace(made, lr_rule=lr_rule)).within(workload.tokens)


def _from_law(text: str, workload: Workload, last: int, multiple: int) -> BatchSchedule:
    from forescale.laws import law

    if not text:
        raise ForescaleError(f"a batch schedule is {FORMS}; got an empty text.")
    name, colon, quantity = text.rpartition(":") if text.endswith(("_tokens",)) else (text, "", "")
    return from_law(law(name), workload, last, multiple=multiple, quantity=quantity if colon else None)


def _doubling(text: str) -> tuple[int, list[float]]:
    first, _, at = text.partition(":")
    form = "double:FIRST:TOKENS,..., as in double:1024:168B,503B"
    return int(_numbers(first, ":", 1, form)[0]), _numbers(at, ",", None, form)


def _numbers(text: str, separator: str, many: int | None, form: str) -> list[float]:
    parts = text.split(separator)
    if many not in (None, len(parts)) or not all(part.strip() for part in parts):
        raise ForescaleError(f"this batch schedule is written {form}; got {text!r}.")
    return [parse_quantity(part, "a number of the batch schedule") for part in parts]
