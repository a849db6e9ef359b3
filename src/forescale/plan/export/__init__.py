"""Plans as config files of trainers. What a target does not get as planned is said there and is an error if `strict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from forescale import __version__
from forescale.errors import ForescaleError, UnknownNameError
from forescale.plan._values import Plan
from forescale.plan.export import (
    _huggingface,
    _levanter,
    _lingua,
    _litgpt,
    _megatron_bridge,
    _megatron_lm,
    _nanochat,
    _nanotron,
    _olmo_core,
    _torchtitan,
)
from forescale.plan.export._batch_schedule import constant_batch, in_words
from forescale.plan.export._render import comment, python
from forescale.plan.export._values import Draft, Numbers, numbers
from forescale.plan.export._values import Export as Export
from forescale.plan.export._values import Note as Note
from forescale.plan.export._values import Target as Target
from forescale.recipe import Value

__all__ = ["ALIASES", "TARGETS", "Export", "Note", "Target", "export"]

_ALL = (
    Target(name="torchtitan", version="0.3.0", draft=_torchtitan.draft_030),
    Target(name="torchtitan-main", version="main at 2026-08-21", draft=_torchtitan.draft_main),
    Target(name="megatron-lm", version="main at 2026-08-22", draft=_megatron_lm.draft, changes_batch=True),
    Target(name="megatron-bridge", version="main at 2026-08-22", draft=_megatron_bridge.draft),
    Target(name="huggingface", version="5.23.0", draft=_huggingface.draft),
    Target(name="litgpt", version="0.5.13", draft=_litgpt.draft),
    Target(name="levanter", version="1.2.dev1644", draft=_levanter.draft, changes_batch=True),
    Target(name="nanochat", version="master at 2026-07-03", draft=_nanochat.draft),
    Target(name="olmo-core", version="3.0.0", draft=_olmo_core.draft, changes_batch=True),
    Target(name="nanotron", version="main at 2026-04-07", draft=_nanotron.draft),
    Target(name="lingua", version="main at 2025-06-18", draft=_lingua.draft),
)

TARGETS: Mapping[str, Target] = MappingProxyType({t.name: t for t in _ALL})
ALIASES: Mapping[str, str] = MappingProxyType({"hf": "huggingface", "torchtitan-0.3.0": "torchtitan"})


def export(plan: Plan, target: str, *, strict: bool = False) -> Export:
    """The plan as a config file of `target` (a name in `TARGETS` or `ALIASES`).

    Raises `UnknownNameError` for another name, and `ForescaleError` where the target cannot run the plan's schedule at
    all, or, if `strict`, where a note is a loss: a value or a property of the model does not arrive as planned.
    """
    chosen = TARGETS.get(ALIASES.get(target, target))
    if chosen is None:
        known = ", ".join((*TARGETS, *ALIASES))
        raise UnknownNameError(f"an export target must be one of {known}; got {target!r}: choose one of these.")
    n = numbers(plan)
    draft = chosen.draft(n)
    if n.batches is not None and not chosen.changes_batch:
        draft = replace(draft, notes=(*draft.notes, constant_batch(n, chosen.name)))
    result = Export(
        target=chosen.name,
        version=chosen.version,
        filename=draft.filename,
        text="\n".join([*_header(plan, n, chosen, draft), "", *draft.lines, ""]),
        notes=draft.notes,
    )
    if strict and result.losses:
        raise ForescaleError(
            f"{chosen.name} cannot express this plan exactly, which strict export asks for: "
            f"{' '.join(result.losses)} Export without strict, or to another target."
        )
    return result


def _header(plan: Plan, n: Numbers, target: Target, draft: Draft) -> list[str]:
    w = plan.workload
    values = ((name, getattr(plan.recipe, name)) for name in plan.recipe.to_json())
    blocks = (
        (
            f"forescale {__version__}, for {target.name} {target.version}",
            f"Workload: {w.params:g} parameters without vocabulary, {w.tokens:g} tokens, seq_len {w.seq_len}.",
            f"This run: {n.steps.value} steps * {n.batch_tokens.value} tokens = {n.total_tokens.value} tokens.",
            *in_words(n),
        ),
        tuple(_value(name, value) for name, value in values),
        (
            *(f"Caution ({c.code}): {c.message}" for c in plan.warnings),
            *(str(note) if note.loss else f"Note: {note}" for note in draft.notes),
        ),
    )
    lines = [["#"] + [line for text in block for line in comment(text)] for block in blocks]
    return [line for block in lines for line in block][1:]


def _value(name: str, value: Value) -> str:
    literal = value.value if isinstance(value.value, str) else python(value.value)
    return f"{name} = {literal}{f' {value.unit}' if value.unit else ''}  ({value.law})"
