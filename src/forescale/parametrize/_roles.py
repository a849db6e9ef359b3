"""The tensors of a model and the role of each, from names, shapes and module types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize import _names as names
from forescale.parametrize._branches import branch_norms
from forescale.parametrize._names import block_of, own_name

ROLES = (
    "embedding",
    "position",
    "hidden",
    "residual_output",
    "unembedding",
    "norm",
    "qk_norm",
    "bias",
    "router",
    "expert",
)
"""What a tensor may be; a `residual_output` is the last linear map of a residual branch."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One parameter as the rules see it; names and shapes are the same before and after any wrapping."""

    name: str
    role: str
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    in_block: bool
    carries: Literal["", "residual", "logits"] = ""  # the multiplier of the forward that it takes over
    narrow: bool = (
        False  # a vector that does not grow with the width: a head's norm, the biases of router and unembedding
    )
    unit_offset: bool = False  # a norm that multiplies by 1 + weight
    frozen: bool = False
    tied: bool = False  # an embedding that is the unembedding as well

    @property
    def is_matrix(self) -> bool:
        """Whether it is a linear map, which weight decay shrinks."""
        return self.role not in ("norm", "qk_norm", "bias")


def find_tensors(model: Any, declared: Mapping[str, str]) -> tuple[Tensor, ...]:
    """Every parameter of `model` with its role; `declared` maps names (globs allowed) to roles and goes first.

    Raises `ForescaleError` that lists the parameters whose role is not known, or that are shared in a way with no rule.
    """
    root = names.unwrapped(model)
    found = [_tensor(root, name, parameter, declared) for name, parameter in root.named_parameters()]
    if unknown := [t for t in found if not t.role]:
        raise UnknownNameError(_ask(unknown))
    if unused := [p for p in declared if not any(fnmatchcase(t.name, p) for t in found)]:
        raise UnknownNameError(
            f"roles names {', '.join(unused)}, but the model has no such parameter: correct the name."
        )
    if lone := [replace(t, role="") for t in found if t.role == "router" and not _routes(t, found, declared)]:
        raise UnknownNameError(_ask(lone))
    tied = _ties(root, found)
    _check_ends(tied, declared)
    return branch_norms(tied)


def _routes(router: Tensor, found: Sequence[Tensor], declared: Mapping[str, str]) -> bool:
    """Whether a router has experts: `gate` is the name of a gated FFN's matrix too."""
    home = block_of(router.name)
    return bool(declared_role(router.name, declared)) or any(
        t.role == "expert" and block_of(t.name) == home for t in found
    )


def _check_ends(found: Sequence[Tensor], declared: Mapping[str, str]) -> None:
    """The last matrix of a branch writes the stream, whatever it is called."""
    widths = {t.shape[-1] for t in found if t.role == "embedding"}
    for t in found:
        ends = t.carries == "residual" and t.is_matrix and not declared_role(t.name, declared)
        if ends and len(widths) == 1 and t.fan_out not in widths:
            raise UnknownNameError(
                f"the last matrix of a residual branch writes the model's width {widths.pop()}; {t.name} of shape "
                f"{list(t.shape)} is called like one and does not: declare it, roles={{{_pattern(t.name)!r}: 'hidden'}}, "
                "and the one that does as 'residual_output'."
            )


def _tensor(root: Any, raw: str, parameter: Any, declared: Mapping[str, str]) -> Tensor:
    name = names.plain_name(raw)
    shape = tuple(int(n) for n in parameter.shape)
    module = _owner(root, raw)
    role = declared_role(name, declared) or _role(name, shape, module, root)
    kind = names.kind_of(module)
    in_block = any(part.isdigit() for part in name.split("."))
    linear = role in ("hidden", "residual_output", "expert", "router", "unembedding") and len(shape) > 1
    turned = kind == "Conv1D" or bool(getattr(module, "is_transposed", False))  # (in, out)
    return Tensor(
        name=name,
        role=role,
        shape=shape,
        fan_in=shape[-2 if turned else -1] if linear else 1,
        fan_out=shape[-1 if turned else -2] if linear else 1,
        in_block=in_block,
        carries="residual" if in_block and _carries(name, role, declared) else "",
        unit_offset=kind in names.UNIT_OFFSET_NORMS,
        narrow=role == "bias" and own_name(name) in names.ROUTERS | (frozenset() if in_block else names.UNEMBEDDINGS),
        frozen=not parameter.requires_grad,
    )


def _owner(root: Any, raw: str) -> Any:
    """The module that a parameter hangs on, that of `torch.nn.utils.parametrize` looked through."""
    path = raw.partition(".parametrizations.")[0] if ".parametrizations." in raw else raw.rpartition(".")[0]
    return root.get_submodule(path)


def declared_role(name: str, declared: Mapping[str, str]) -> str:
    for pattern, role in declared.items():
        if fnmatchcase(name, pattern):
            if role not in ROLES:
                raise UnknownNameError(f"a role is one of {', '.join(ROLES)}; got {role!r} for {pattern}.")
            return role
    return ""


def _role(name: str, shape: Sequence[int], module: Any, root: Any) -> str:
    """The role that the name states; '' where it states none."""
    parts, own, kind = name.split("."), own_name(name), names.kind_of(module)
    in_block = any(part.isdigit() for part in parts)
    if len(shape) <= 1:
        if "norm" in kind.lower() or "norm" in own.lower() or own.startswith("ln_"):
            return _norm(own, in_block)
        return "bias" if parts[-1] == "bias" else ""
    if "Embedding" in kind:
        return _embedding(own, kind, module, root)
    if parts[-1].endswith("_bias"):  # of stacked experts
        return "bias" if "experts" in parts else ""
    if not in_block:
        return "unembedding" if own in names.UNEMBEDDINGS and len(shape) == 2 else ""
    return _in_block(parts, own, kind, len(shape))


def _norm(own: str, in_block: bool) -> str:
    """A norm's role; one in a block that stands after something is asked for, unless it is known what it stands after."""
    if own in names.QK_NORMS:
        return "qk_norm"
    known = own in names.AFTER_FFN | names.AFTER_SELF_ATTENTION | names.AFTER_ATTENTION
    return "norm" if known or not in_block or "post" not in own.lower() else ""


def _in_block(parts: Sequence[str], own: str, kind: str, dimensions: int) -> str:
    if own in names.ROUTERS or "Router" in kind:
        return "router"
    if any(part == "experts" for part in parts):
        return "expert" if own in names.HIDDEN | names.RESIDUAL_OUTPUTS else ""
    if dimensions != 2:
        return ""
    if own == "dense" and "intermediate" in parts:
        return "hidden"
    return "residual_output" if own in names.RESIDUAL_OUTPUTS else "hidden" if own in names.HIDDEN else ""


def _embedding(own: str, kind: str, module: Any, root: Any) -> str:
    if "Scaled" in kind:
        return ""  # its forward multiplies by a power of the width
    if own in names.POSITIONS:
        return "position"
    asked = getattr(root, "get_input_embeddings", None)
    return "embedding" if own in names.EMBEDDINGS or (asked is not None and asked() is module) else ""


def _carries(name: str, role: str, declared: Mapping[str, str]) -> bool:
    """Whether a tensor is the end of a residual branch: its last matrix, or that matrix's bias."""
    if role != "bias":
        return role == "residual_output" or (role == "expert" and own_name(name) in names.RESIDUAL_OUTPUTS)
    weight = name.removesuffix("bias") + "weight" if name.endswith(".bias") else name.removesuffix("_bias")
    said = declared_role(weight, declared)
    if said in ("residual_output", "hidden"):
        return said == "residual_output"
    return own_name(name) in names.RESIDUAL_OUTPUTS and "intermediate" not in name.split(".")


def _ties(root: Any, found: Sequence[Tensor]) -> list[Tensor]:
    """Mark the embedding that is the unembedding too; any other sharing has no rule."""
    known = {t.name for t in found}
    first: dict[int, str] = {}
    tied: set[str] = set()
    for raw, parameter in root.named_parameters(remove_duplicate=False):
        name = names.plain_name(raw)
        if name in known:
            first[id(parameter)] = name
            continue
        own = own_name(name)
        home = first.get(id(parameter), "")
        role = next((t.role for t in found if t.name == home), "")
        if role not in ("embedding", "unembedding") or own not in names.UNEMBEDDINGS | names.EMBEDDINGS:
            raise ForescaleError(
                f"a parameter may be shared by embedding and unembedding only; {home} and {name} are one tensor, whose "
                "learning rate no scheme states: give each its own."
            )
        tied.add(home)
    if not tied and not any(t.role == "unembedding" for t in found):
        _check_head(root)
        tied = {t.name for t in found if t.role == "embedding"}  # the forward multiplies by the embedding itself
    return [replace(t, role="embedding", tied=True) if t.name in tied else t for t in found]


def _check_head(root: Any) -> None:
    """A backbone without logits is not a model with a tied embedding."""
    asked = getattr(root, "get_output_embeddings", None)
    if asked is not None and asked() is None:
        raise ForescaleError(
            f"a model needs an unembedding, tied or its own; {names.kind_of(root)} has none: pass the model with its head."
        )


def _ask(unknown: Sequence[Tensor]) -> str:
    """Which parameters are not known, and the argument that would say it."""
    kinds = {_pattern(t.name): t.shape for t in unknown}
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in list(kinds.items())[:12])
    more = f" and {len(kinds) - 12} more" if len(kinds) > 12 else ""
    example = ", ".join(f"{name!r}: '...'" for name in list(kinds)[:4])
    return (
        f"every parameter needs a role ({', '.join(ROLES)}), and these names state none: {shown}{more}. "
        f"Declare them: parametrization(..., roles={{{example}}}); residual_output is the last matrix before the residual sum."
    )


def _pattern(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
