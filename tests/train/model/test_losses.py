"""The loss on the CPU against PyTorch's own cross entropy, its definition and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from forescale.train import _losses
from forescale.train._losses import SMALL, cross_entropy

Z = [0.0, 0.3]


def batch(
    tokens: int = 6, vocab: int = 5, scale: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(tokens, vocab, generator=generator, dtype=dtype) * scale
    return logits.requires_grad_(), torch.randint(vocab, (tokens,), generator=generator)


def pytorchs(logits: Tensor, targets: Tensor, z: float) -> Tensor:
    return functional.cross_entropy(logits, targets) + z * logits.exp().sum(-1).log().square().mean()


@pytest.fixture(autouse=True)
def no_batch_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_losses, "SMALL", 0)


@pytest.mark.parametrize("z", Z)
def test_values_and_gradients_are_pytorchs(z: float) -> None:
    logits, targets = batch(50, 40)
    ours = cross_entropy(logits, targets, z)
    assert type(ours.objective.grad_fn).__name__ == "_CrossEntropyBackward"
    expected = pytorchs(logits, targets, z)
    torch.testing.assert_close(ours.objective, expected)
    torch.testing.assert_close(ours.loss, functional.cross_entropy(logits, targets).detach())
    assert not ours.loss.requires_grad
    for factor in (1.0, -2.5):
        (grad,) = torch.autograd.grad(ours.objective * factor, logits, retain_graph=True)
        torch.testing.assert_close(grad, torch.autograd.grad(expected * factor, logits, retain_graph=True)[0])


@pytest.mark.parametrize("z", Z)
def test_gradients_are_those_of_finite_differences(z: float) -> None:
    logits, targets = batch()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, targets, z).objective, logits)


def test_the_logits_are_left_alone() -> None:
    logits, targets = batch()
    before = logits.detach().clone()
    cross_entropy(logits, targets, 0.1).objective.backward()
    assert torch.equal(logits, before)


# A probability of exp(-200) is zero in float32.
@pytest.mark.parametrize("z", Z)
def test_a_hopeless_token_costs_what_it_should(z: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [1.0, 2.0]], requires_grad=True)
    losses = cross_entropy(logits, torch.tensor([1, 0]), z)
    torch.testing.assert_close(losses.loss, torch.tensor((200.0 + 1.3132617) / 2))
    (grad,) = torch.autograd.grad(losses.objective, logits)
    torch.testing.assert_close(grad, torch.autograd.grad(stable(logits, z), logits)[0])


def stable(logits: Tensor, z: float) -> Tensor:
    return functional.cross_entropy(logits, torch.tensor([1, 0])) + z * logits.logsumexp(-1).square().mean()


def test_what_is_not_a_number_stays_so() -> None:
    logits, targets = batch()
    assert cross_entropy(logits * float("nan"), targets, 0.0).loss.isnan()


def test_without_gradients_and_for_small_batches_it_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = batch()
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(logits, targets, 0.3).objective, pytorchs(logits, targets, 0.3))
    monkeypatch.setattr(_losses, "SMALL", SMALL)
    losses: Any = cross_entropy(logits, targets, 0.0)
    assert type(losses.objective.grad_fn).__name__ == "NllLossBackward0"
