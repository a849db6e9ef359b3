"""Losses in which one example's gradient depends on the others: there are no norms of examples then."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError

NORMALISERS = {"NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0"}
OURS = ("Tracked", "PerExample", "Compiled")  # first letters of the nodes that give records
VIEWS = {"ToCopyBackward0", "TBackward0", "TransposeBackward0", "PermuteBackward0"}
PRODUCTS = {"MmBackward0", "AddmmBackward0", "CdistBackward0", "EuclideanDistBackward0"}  # of examples with examples


def refuse_mixing(model: nn.Module) -> None:
    """Raise `ForescaleError` if the model normalises over the batch."""
    whole: Any = model
    modules = whole.named_modules()
    for name, module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):  # pyright: ignore
            raise ForescaleError(
                f"{name} ({type(module).__name__}) mixes the examples of a batch, so that no example has a gradient of its "
                "own: use a norm over features, or put it in eval mode."
            )


def check_loss(outputs: Iterable[Any]) -> None:
    """In a backward pass: raise `ForescaleError` if the loss multiplies the model's outputs of examples with each other.

    It sees products of two matrices that both come from the model's outputs, distances, and batch norms; other ways to mix
    examples, and those inside a compiled loss, it does not see.
    """
    ends = {node for node in outputs if node is not None}
    below: dict[Any, bool] = {}  # whether a node comes from the model's outputs
    for node in _children_first([loss.grad_fn for loss in _losses()], ends):
        from_outputs = [child in ends or below.get(child, False) for child, _ in node.next_functions]
        name = node.name()
        below[node] = any(from_outputs) or name.startswith("Compiled")  # of a compiled model, nothing else is known
        if (name in PRODUCTS and sum(from_outputs[-2:]) == 2) or (name in NORMALISERS and any(from_outputs)):
            raise ForescaleError(
                f"the loss mixes the examples of a batch ({name.removesuffix('Backward0')} of the model's outputs), so that "
                "no example has a gradient of its own: a noise meter needs a sum over examples."
            )


def check_uses(followed: Mapping[int, str]) -> None:
    """In a backward pass: raise `ForescaleError` if a followed parameter is used outside its module.

    `followed` maps ids of parameters to their modules' names. A compiled graph is not looked into.
    """
    users: dict[Any, list[Any]] = {}
    for node in _children_first([loss.grad_fn for loss in _losses()], set()):
        for child, _ in node.next_functions:
            if child is not None:
                users.setdefault(child, []).append(node)
    for leaf in users:
        name = followed.get(id(getattr(leaf, "variable", None)))
        for user in () if name is None else _through(users, leaf):
            if not user.name().startswith(OURS):
                raise ForescaleError(
                    f"{name} has a parameter that is also used outside of its forward pass (by "
                    f"{user.name().removesuffix('Backward0')}), where a noise meter cannot follow it: call the module "
                    "instead, or leave it out by `layers`."
                )


def _through(users: Mapping[Any, Sequence[Any]], node: Any) -> Iterator[Any]:
    """What uses a node, behind casts and transposes."""
    for user in users.get(node, ()):
        if user.name() in VIEWS:
            yield from _through(users, user)
        else:
            yield user


def _losses() -> list[Tensor]:
    """What backward() was called on: an argument of the call that some thread waits in."""
    for top in sys._current_frames().values():  # pyright: ignore[reportPrivateUsage]
        frame = top
        while frame is not None:
            if frame.f_code is cast("Any", torch.autograd.backward).__code__:
                tensors = frame.f_locals["tensors"]
                return [tensors] if isinstance(tensors, Tensor) else list(tensors)
            frame = frame.f_back
    return []


def _children_first(roots: Iterable[Any], ends: set[Any]) -> Iterator[Any]:
    """The nodes between the loss and the model's outputs, each after those that it came from."""
    seen: set[Any] = set()
    stack = [(root, False) for root in roots if root is not None and root not in ends]
    while stack:
        node, done = stack.pop()
        if done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(child, False) for child, _ in node.next_functions if child is not None and child not in ends]


def tensors_of(value: Any) -> Sequence[Tensor]:
    """The tensors in a model's output."""
    if isinstance(value, Tensor):
        return (value,)
    many = isinstance(value, list | tuple)
    items: Any = value.values() if hasattr(value, "values") else cast("Any", value) if many else ()
    return [each for item in items for each in tensors_of(item)]
