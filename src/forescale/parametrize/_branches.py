"""Residual branches: which tensor is the last linear map of each, and so can take over a multiplier on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from forescale.errors import ForescaleError
from forescale.parametrize import _names as names

if TYPE_CHECKING:
    from forescale.parametrize._roles import Tensor


def branch_norms(found: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Where a block normalises its branches before adding them, those norms' gains are the last linear maps."""
    blocks: dict[str, list[Tensor]] = {}
    for t in found:
        if t.in_block:
            blocks.setdefault(names.block_of(t.name), []).append(t)
    ends = {name for block, tensors in blocks.items() for name in _norms_after(block, tensors)}
    normed = {names.block_of(name) for name in ends}
    return tuple(
        replace(t, carries="residual" if t.name in ends else "") if names.block_of(t.name) in normed else t
        for t in found
    )


def _norms_after(block: str, tensors: Sequence[Tensor]) -> list[str]:
    """The gains and biases of a block's norms after its branches; none where a block has no such norms."""
    own = {t.name: names.own_name(t.name) for t in tensors if t.role == "norm"}
    after_ffn = [name for name, word in own.items() if word in names.AFTER_FFN]
    after_attention = [name for name, word in own.items() if word in names.AFTER_SELF_ATTENTION]
    if after_ffn and not after_attention:
        after_attention = [name for name, word in own.items() if word in names.AFTER_ATTENTION]
    if bool(after_ffn) != bool(after_attention):
        raise ForescaleError(
            "a block normalises both of its branches before adding them, or neither; "
            f"{block} has {', '.join(after_ffn + after_attention)} alone, for which there is no rule."
        )
    return after_ffn + after_attention


def open_branches(tensors: Sequence[Tensor], declared: Mapping[str, str]) -> list[str]:
    """Modules of blocks with matrices and no last one: what the names hide a residual multiplier would miss.

    Matrices whose role was declared are taken at their word.
    """
    from forescale.parametrize._roles import declared_role

    ended = {names.block_of(t.name) for t in tensors if t.role == "norm" and t.carries == "residual"}
    ended |= {_branch(t.name) for t in tensors if t.carries == "residual"}
    started: dict[str, None] = {}
    for t in tensors:
        if t.in_block and t.role in ("hidden", "expert") and not declared_role(t.name, declared):
            started[_branch(t.name)] = None
    return [branch for branch in started if branch not in ended and branch.rpartition(".")[0] not in ended]


def _branch(name: str) -> str:
    """The module right under a block that a parameter stands in; the block itself where its matrices hang on it."""
    block = names.block_of(name)
    rest = name.removeprefix(block + ".").split(".")
    modules = rest[:-1] if rest[-1] in ("weight", "bias") else rest
    return f"{block}.{modules[0]}" if len(modules) > 1 else f"{block}."
