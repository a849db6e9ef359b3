"""A component of a model with its parameter counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Part:
    """Parameters of one kind of tensor over the whole model; `active_params` is what one token uses of them."""

    name: str  # embedding, positions, head, attention, ffn, experts, shared experts, router, norms
    params: int
    active_params: int
    vocabulary: bool = False  # embedding, learned positions, output head

    def to_json(self) -> dict[str, Any]:
        """The part as plain JSON types."""
        return {"name": self.name, "params": self.params, "active_params": self.active_params}
