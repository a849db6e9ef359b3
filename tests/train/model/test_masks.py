"""Static random sparsity: which weights are kept, and that the rest have no say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from forescale.train import ModelOptions, build_model
from forescale.train._masks import apply_masks_, mask_density, masked_weights
from forescale.workload import Experts, Shape

SHAPE = Shape(layers=2, width=32, heads=4, kv_heads=2, vocab=40, ffn_width=64, qk_norm="head")
EXPERTS = Shape(
    layers=2, width=32, heads=4, vocab=40, ffn_width=64, experts=Experts(count=4, top_k=2, width=24, shared_width=8)
)
TOKENS = torch.arange(60).view(3, 20) % 40


def build(shape: Shape = SHAPE, density: float = 0.3, mask_seed: int = 0, seed: int = 0) -> Any:
    return build_model(shape, ModelOptions(density=density, mask_seed=mask_seed), seq_len=20, seed=seed)


@pytest.mark.parametrize("shape", [SHAPE, EXPERTS], ids=["dense", "experts"])
def test_the_hidden_matrices_are_masked_and_nothing_else(shape: Shape) -> None:
    names = {name for name, _, _ in masked_weights(build(shape))}
    # Whatever is a matrix inside a block, but the router.
    expected = {n for n, p in build(shape).named_parameters() if n.startswith("blocks") and p.dim() > 1}
    assert names == {name for name in expected if "router" not in name}
    assert len(names) == (8 if shape is SHAPE else 12)


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_the_share_kept_is_the_density(density: float) -> None:
    model = build(density=density)
    total = sum(mask.numel() for _, _, mask in masked_weights(model))
    deviation = (density * (1 - density) / total) ** 0.5  # of a mean of independent draws
    assert abs(mask_density(model) - density) < 5 * deviation
    assert len({float(mask.float().mean()) for _, _, mask in masked_weights(model)}) > 1  # no two drawn alike


def test_without_masks_the_density_is_one() -> None:
    model = build(density=1.0)
    assert mask_density(model) == 1.0
    assert not list(masked_weights(model))


def test_masks_depend_on_their_seed_and_the_name_alone() -> None:
    first, second, third = build(seed=0), build(seed=1), build(mask_seed=1)
    deeper = build(Shape(layers=3, width=32, heads=4, kv_heads=2, vocab=99, ffn_width=64))
    for name, _, mask in masked_weights(first):
        assert torch.equal(mask, second.get_buffer(name + "_mask"))
        assert torch.equal(mask, deeper.get_buffer(name + "_mask"))
        assert not torch.equal(mask, third.get_buffer(name + "_mask"))


@pytest.mark.parametrize("shape", [SHAPE, EXPERTS], ids=["dense", "experts"])
def test_masked_weights_have_no_gradient_and_no_effect(shape: Shape) -> None:
    model = build(shape)
    before = model(TOKENS, TOKENS)
    before.objective.backward()
    for _, weight, mask in masked_weights(model):
        assert weight.grad is not None
        assert weight.grad[~mask].abs().max() == 0
        assert weight.grad[mask].abs().max() > 0
    with torch.no_grad():
        for _, weight, mask in masked_weights(model):
            weight += ~mask * 5.0
    assert torch.equal(model(TOKENS, TOKENS).loss, before.loss)
    apply_masks_(model)
    assert all(weight[~mask].abs().max() == 0 for _, weight, mask in masked_weights(model))
    assert torch.equal(model(TOKENS, TOKENS).loss, before.loss)


def test_masks_are_saved_with_the_weights() -> None:
    model, other = build(), build(mask_seed=7, seed=7)
    assert all(name + "_mask" in model.state_dict() for name, _, _ in masked_weights(model))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(TOKENS), other(TOKENS))
