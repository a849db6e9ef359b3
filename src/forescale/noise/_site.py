"""A module whose methods a meter has replaced, and the records that come back from it."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise._kinds._known import eps_of
from forescale.noise._kinds._records import make_slot
from forescale.noise._kinds._rules import KINDS, RULES, counted

if TYPE_CHECKING:
    from forescale.noise._meter import Meter


class Site:
    """One method of a module, followed by one rule. `head` is the site that shares its parameter, of an embedding."""

    def __init__(self, meter: Meter, name: str, module: nn.Module, method: str, rule: str) -> None:
        self.meter, self.name, self.module, self.method, self.rule = meter, name, module, method, rule
        self.kind = KINDS.get(rule, rule)
        self.vectors = dict(module.named_parameters(recurse=False)) if rule in ("broadcast", "scale") else {}
        self.eps, self.transposed = eps_of(module), type(module).__name__ == "Conv1D"
        self.head: Site | None = None
        self.table: Site | None = None  # the embedding, of a head
        self.active = True
        count = len(self.vectors) if self.vectors else 2 if rule == "experts" else 1
        first = next(module.parameters(recurse=False))
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        self.slots = [make_slot(first.device, dtype) for _ in range(count)]
        self.counts: Tensor | None = None
        self._held: tuple[Tensor, Tensor] | None = None
        self._own = module.__dict__.get(method)  # of a copy, or the user's
        self.plain = getattr(module, method)

    @property
    def slot(self) -> Tensor:
        """The slot of a site that has one."""
        return self.slots[0]

    def count_positions(self) -> Tensor:
        """Let the site count, for each example, the positions that have a gradient; the slot that holds it."""
        self.counts = self.counts if self.counts is not None else make_slot(self.slot.device, self.slot.dtype)
        return self.counts

    def replace(self) -> None:
        """Put the rule in the place of the method."""
        self.module.__dict__[self.method] = Replacement(self)

    def restore(self) -> None:
        """Undo `replace`."""
        if isinstance(self.module.__dict__.get(self.method), Replacement):
            del self.module.__dict__[self.method]
            if self._own is not None:
                self.module.__dict__[self.method] = self._own

    def run(self, *arguments: Any, **named: Any) -> Any:
        """The rule, where there will be a gradient; else the method itself."""
        if len(named) == 1 and not arguments:
            arguments, named = tuple(named.values()), {}
        if self.active and torch.is_grad_enabled():
            return RULES[self.rule](self, *arguments, **named)
        y = self.plain(*arguments, **named)
        return y if self.counts is None or not torch.is_grad_enabled() else counted(self, y)

    def made(self, link: Tensor, ids: Tensor) -> None:
        """Keep an embedding's link for its head."""
        self._held = (link, ids) if self.head is not None else None

    def link(self) -> tuple[Tensor | None, Tensor | None]:
        """The link that this site's embedding made in this forward pass, and its ids."""
        if self.table is None:
            return None, None
        held, self.table._held = self.table._held, None
        if held is None:
            raise ForescaleError(
                f"{self.name} shares its weight with {self.table.name}, which must be called before it."
            )
        return held

    def needed_examples(self) -> int:
        """The examples of the batch, where they cannot be read off the input."""
        if self.meter.examples is None:
            raise ForescaleError(
                f"{self.name} sees tokens without their examples: call the model that the meter was given, with the "
                "batch dimension first."
            )
        return self.meter.examples


class Replacement:
    """A site's rule as the module's method; a copy of the module gets its own method back."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.site.run(*arguments, **named)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        module = memo.get(id(self.site.module), self.site.module)
        return _method(module, self.site.method)

    def __reduce__(self) -> Any:
        return _method, (self.site.module, self.site.method)


def is_followed(module: nn.Module) -> bool:
    """Whether a meter has replaced a method of it."""
    return any(isinstance(value, Replacement) for value in vars(module).values())


class Hook:
    """A hook of the followed model; a copy of the model gets one that does nothing."""

    def __init__(self, run: Callable[..., None]) -> None:
        self.run = run

    def __call__(self, *arguments: Any) -> None:
        self.run(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return Hook(_nothing)

    def __reduce__(self) -> Any:
        return Hook, (_nothing,)


def _nothing(*_: Any) -> None:
    pass


def _method(module: nn.Module, name: str) -> Callable[..., Any]:
    return MethodType(getattr(type(module), name), module)
