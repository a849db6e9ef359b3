"""The tensors of a model and the role of each, from names, shapes and module types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize import _names as names

Role = Literal[
    "embedding", "position", "hidden", "residual_output", "unembedding", "norm", "qk_norm", "bias", "router", "expert"
]
ROLES: tuple[str, ...] = (
    *(
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
    ),
)
"""What a tensor may be; a `residual_output` is the last linear map of a residual branch."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One parameter as the rules see it; names and shapes are the same before and after any wrapping."""

    name: str
    role: str
    shape: tuple[int, ...]
    fan_in: int
    in_block: bool
    carries: Literal["", "residual", "logits"] = ""  # the multiplier of the forward that it takes over
    full_width: bool = False  # of a norm on queries and keys: over all heads at once
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
    return _branch_norms(_ties(root, found))


def _tensor(root: Any, raw: str, parameter: Any, declared: Mapping[str, str]) -> Tensor:
    name = names.plain_name(raw)
    shape = tuple(int(n) for n in parameter.shape)
    module = _owner(root, raw)
    role = _declared(name, declared) or _role(name, shape, module, root)
    kind = type(module).__name__
    in_block = any(part.isdigit() for part in name.split("."))
    known = role in ("hidden", "residual_output", "expert", "router", "unembedding")
    return Tensor(
        name=name,
        role=role,
        shape=shape,
        fan_in=(shape[0] if kind == "Conv1D" else shape[-1]) if known and len(shape) > 1 else 1,
        in_block=in_block,
        carries="residual" if in_block and _carries(name, role, declared) else "",
        unit_offset=kind.startswith("Gemma") and role in ("norm", "qk_norm"),
        frozen=not parameter.requires_grad,
    )


def _owner(root: Any, raw: str) -> Any:
    """The module that a parameter hangs on, that of `torch.nn.utils.parametrize` looked through."""
    path = raw.partition(".parametrizations.")[0] if ".parametrizations." in raw else raw.rpartition(".")[0]
    return root.get_submodule(path)


def _declared(name: str, declared: Mapping[str, str]) -> str:
    for pattern, role in declared.items():
        if fnmatchcase(name, pattern):
            if role not in ROLES:
                raise UnknownNameError(f"a role is one of {', '.join(ROLES)}; got {role!r} for {pattern}.")
            return role
    return ""


def _role(name: str, shape: Sequence[int], module: Any, root: Any) -> str:
    """The role that the name states; '' where it states none."""
    parts = name.split(".")
    leaf, kind = parts[-1], type(module).__name__
    own = parts[-2] if leaf in ("weight", "bias") and len(parts) > 1 else leaf
    is_norm = "norm" in kind.lower() or "norm" in own.lower() or own.startswith("ln_")
    if len(shape) <= 1:
        if is_norm:
            return "qk_norm" if own in names.QK_NORMS else "norm"
        return "bias" if leaf == "bias" else ""
    if "Embedding" in kind:
        return _embedding(own, kind, module, root)
    in_block = any(part.isdigit() for part in parts)
    if not in_block:
        return "unembedding" if own in names.UNEMBEDDINGS and len(shape) == 2 else ""
    return _in_block(parts, own, kind, len(shape))


def _in_block(parts: Sequence[str], own: str, kind: str, dimensions: int) -> str:
    if own in names.ROUTERS or "Router" in kind:
        return "router"
    if any(part == "experts" for part in parts):
        return "expert" if own in names.HIDDEN | names.RESIDUAL_OUTPUTS else ""
    if dimensions != 2:
        return ""
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
    if role == "residual_output":
        return True
    parts = name.split(".")
    if role == "expert":
        own = parts[-2] if parts[-1] in ("weight", "bias") else parts[-1]
        return own in names.RESIDUAL_OUTPUTS
    if role != "bias" or len(parts) < 2:
        return False
    weight = ".".join([*parts[:-1], "weight"])
    return parts[-2] in names.RESIDUAL_OUTPUTS or _declared(weight, declared) == "residual_output"


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
        own = name.split(".")[-2] if "." in name else name
        home = first.get(id(parameter), "")
        role = next((t.role for t in found if t.name == home), "")
        if role not in ("embedding", "unembedding") or own not in names.UNEMBEDDINGS | names.EMBEDDINGS:
            raise ForescaleError(
                f"a parameter may be shared by embedding and unembedding only; {home} and {name} are one tensor, whose "
                "learning rate no scheme states: give each its own."
            )
        tied.add(home)
    if not tied and not any(t.role == "unembedding" for t in found):
        tied = {t.name for t in found if t.role == "embedding"}  # the forward multiplies by the embedding itself
    return [replace(t, role="embedding", tied=True) if t.name in tied else t for t in found]


def _branch_norms(found: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Where a block normalises a branch before adding it, that norm's gain is the branch's last linear map."""
    blocks = {block_of(t.name) for t in found if t.in_block and _own(t.name) in names.BRANCH_NORMS}
    carriers = names.BRANCH_NORMS | names.AFTER_ATTENTION
    changed: list[Tensor] = []
    for t in found:
        if t.in_block and block_of(t.name) in blocks:
            carries = "residual" if t.role == "norm" and _own(t.name) in carriers else ""
            changed.append(replace(t, carries=cast("Any", carries)))
        else:
            changed.append(t)
    return tuple(changed)


def _own(name: str) -> str:
    parts = name.split(".")
    return parts[-2] if parts[-1] in ("weight", "bias") and len(parts) > 1 else parts[-1]


def block_of(name: str) -> str:
    """The block that a parameter stands in: its name up to the first number; '' outside the blocks."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if at is None else ".".join(parts[: at + 1])


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
