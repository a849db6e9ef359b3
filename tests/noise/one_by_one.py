"""The slow way to every example's gradient, which the meter is held against: one example, one backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from forescale.noise import Meter

Loss = Callable[[nn.Module, Any], Tensor]


def square(model: nn.Module, x: Any) -> Tensor:
    """A loss that is a mean over examples, and has curvature."""
    return (model(x).tanh() + 0.3).square().mean()


def language(model: nn.Module, tokens: Tensor) -> Tensor:
    """The next token's cross entropy, for models that return logits (examples, length, vocab)."""
    logits = model(tokens[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def one_by_one(model: nn.Module, batch: Any, loss: Loss = square, parameters: Any = None) -> Tensor:
    """(examples,) squared gradient norms by as many backward passes."""
    chosen = list(model.parameters()) if parameters is None else list(parameters)
    found = []
    for i in range(len(batch)):
        model.zero_grad()
        loss(model, batch[i : i + 1]).backward()
        found.append(sum(p.grad.double().square().sum() for p in chosen if p.grad is not None))
    model.zero_grad()
    return torch.stack(found)  # type: ignore[arg-type]


def measured(model: nn.Module, batch: Any, loss: Loss = square, **options: Any) -> Tensor:
    """The same by a meter, from one backward pass."""
    with Meter(model, **options) as meter:
        model.zero_grad()
        loss(model, batch).backward()
        return meter.example_norms()


def error(found: Tensor, expected: Tensor) -> float:
    """The largest relative difference."""
    assert found.shape == expected.shape
    return float((found.double() / expected - 1).abs().max())


class Sequence(nn.Module):
    """Modules one after another on (examples, length, features)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """`x` through all layers."""
        for layer in self.layers:
            x = layer(x)
        return x


class Bigram(nn.Module):
    """An embedding, learned positions by one of their three forms, a norm and a head, tied or not."""

    def __init__(self, positions: str = "none", tied: bool = False, padding: int | None = None) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6, padding_idx=padding)
        self.positions = nn.Embedding(9, 6) if positions != "none" else None
        self.form = positions
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (examples, length, 11)."""
        x = self.table(tokens)
        if self.positions is not None:
            at = torch.arange(tokens.shape[1])
            x = x + self.positions({"flat": at, "one": at[None], "each": at.expand_as(tokens)}[self.form])
        return self.head(self.norm(x).sin())
