"""A stack of decoders against the decoders one by one, in float64: losses and gradients of every kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forescale.train import Decoder, ModelOptions, _losses, build_model
from forescale.train.population import _stack
from forescale.train.population._norms import stacked_rms_norm
from forescale.train.population._stack import Stack
from forescale.workload import Shape

LENGTH = 12
LLAMA = Shape(layers=2, width=24, heads=4, kv_heads=2, vocab=31, ffn_width=40)
GPT = Shape(
    layers=2, width=24, heads=4, vocab=31, ffn_width=40, norm="layer", gated=False, positions=LENGTH + 3, tied=True,
    qkv_bias=True, o_bias=True, ffn_bias=True,
)  # fmt: skip
MODELS: dict[str, tuple[Shape, ModelOptions]] = {
    "rotary, rms, gated, grouped queries": (LLAMA, ModelOptions()),
    "learned, layer norm, biases, tied": (GPT, ModelOptions(position="learned")),
    "alibi": (LLAMA, ModelOptions(position="alibi")),
    "no positions": (LLAMA, ModelOptions(position="none")),
    "norms of heads": (replace(LLAMA, qk_norm="head"), ModelOptions()),
    "norms of all heads": (replace(LLAMA, qk_norm="full"), ModelOptions()),
    "layer norms of heads": (replace(GPT, qk_norm="head", tied=False), ModelOptions(position="learned")),
    "layer norms of all heads, without positions": (
        replace(LLAMA, norm="layer", qk_norm="full"), ModelOptions(position="none"),
    ),
    "z-loss": (LLAMA, ModelOptions(z_loss=0.1)),
    "masks": (LLAMA, ModelOptions(density=0.5)),
    "masks and biases": (GPT, ModelOptions(density=0.5, position="learned")),
    "recomputed": (LLAMA, ModelOptions(checkpointing=True)),
    "scaled attention, relu2, ungated, tied": (
        replace(LLAMA, gated=False, tied=True), ModelOptions(attention_scale=0.5, activation="relu2"),
    ),
}  # fmt: skip


def models(shape: Shape, options: ModelOptions, members: int = 3) -> list[Decoder]:
    """Decoders in float64 with every parameter drawn, norms and biases too."""
    made = [build_model(shape, options, seq_len=LENGTH + 3, seed=seed).double() for seed in range(members)]
    for seed, model in enumerate(made):
        draw = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return made


def stack(decoders: Sequence[Decoder]) -> tuple[Stack, dict[str, nn.Parameter]]:
    """Their stack, on weights that lie strided in one matrix as a population's do."""
    parts = [dict(decoder.named_parameters()) for decoder in decoders]
    flat = torch.stack([torch.cat([p.detach().flatten() for p in part.values()]) for part in parts])
    columns = flat.split([p.numel() for p in parts[0].values()], 1)
    weights = {
        name: nn.Parameter(column.detach().unflatten(1, p.shape))
        for (name, p), column in zip(parts[0].items(), columns, strict=True)
    }
    return Stack(decoders[0], weights), weights


def rows(shape: Shape, members: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    return torch.randint(shape.vocab, (members, 2, LENGTH + 1), generator=draw)


def one_by_one(decoders: Sequence[Decoder], tokens: Tensor) -> tuple[list[Any], list[dict[str, Tensor]]]:
    losses, grads = [], []
    for decoder, own in zip(decoders, tokens, strict=True):
        made: Any = decoder(own[:, :-1], own[:, 1:])
        named = dict(decoder.named_parameters())
        grads.append(dict(zip(named, torch.autograd.grad(made.objective, list(named.values())), strict=True)))
        losses.append(made)
    return losses, grads


def check(shape: Shape, options: ModelOptions) -> None:
    decoders = models(shape, options)
    stacked, weights = stack(decoders)
    tokens = rows(shape)
    made = stacked(tokens)
    found = dict(zip(weights, torch.autograd.grad(made.objective.sum(), list(weights.values())), strict=True))
    losses, grads = one_by_one(decoders, tokens)
    for member, (loss, grad) in enumerate(zip(losses, grads, strict=True)):
        torch.testing.assert_close(made.loss[member], loss.loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(made.objective[member], loss.objective.detach(), rtol=1e-12, atol=0)
        for name, expected in grad.items():
            torch.testing.assert_close(found[name][member], expected, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_has_the_losses_and_gradients_of_its_decoders(name: str) -> None:
    check(*MODELS[name])


@pytest.mark.parametrize("part", ["Linears", "Embeddings", "RMSNorms"])
def test_a_part_that_takes_another_members_weight_would_show(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    kind = getattr(_stack, part)
    first = kind.__init__

    def shifted(self: Any, name: str, weights: Any, *rest: Any) -> None:
        first(self, name, weights, *rest)
        own = self.weight
        del self.weight
        self.weight = own.roll(1, 0)

    monkeypatch.setattr(kind, "__init__", shifted)
    with pytest.raises(AssertionError):
        check(*MODELS["rotary, rms, gated, grouped queries"])


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
@pytest.mark.parametrize("small", [0, _losses.SMALL], ids=["at once", "pytorch's"])
def test_losses_of_several_models_are_those_of_each(monkeypatch: pytest.MonkeyPatch, z_loss: float, small: int) -> None:
    monkeypatch.setattr(_losses, "SMALL", small)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 8, 11, generator=draw, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(11, (3, 8), generator=draw), torch.tensor([0.5, 1.0, 2.0])
    made = _losses.cross_entropy(logits, targets, z_loss)
    (found,) = torch.autograd.grad((made.objective * weights).sum(), logits)
    for member in range(3):
        own = logits[member].detach().requires_grad_()
        loss = nn.functional.cross_entropy(own, targets[member])
        objective = loss + z_loss * own.logsumexp(-1).square().mean()
        torch.testing.assert_close(made.loss[member], loss.detach())
        torch.testing.assert_close(made.objective[member], objective)
        torch.testing.assert_close(found[member], weights[member] * torch.autograd.grad(objective, own)[0])


def test_masked_weights_have_no_gradient() -> None:
    decoders = models(*MODELS["masks"])
    stacked, weights = stack(decoders)
    found = torch.autograd.grad(stacked(rows(LLAMA)).objective.sum(), weights["blocks.0.ffn.input.weight"])[0]
    mask: Any = decoders[0].get_buffer("blocks.0.ffn.input.weight_mask")
    assert bool((found[:, ~mask] == 0).all())
    assert bool((found[:, mask] != 0).any(-1).all())


def test_the_norm_has_the_gradient_of_its_definition() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: stacked_rms_norm(a, b, 1e-5), (x, weight))
    plain = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight[:, None]
    torch.testing.assert_close(stacked_rms_norm(x, weight, 1e-5), plain)


def test_a_norm_in_half_precision_is_torchs_own() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 6, generator=draw).bfloat16(), torch.randn(2, 6, generator=draw)
    expected = torch.stack([nn.functional.rms_norm(a.float(), (6,), b, 1e-5) for a, b in zip(x, weight, strict=True)])
    torch.testing.assert_close(stacked_rms_norm(x, weight, 1e-5), expected.bfloat16())
