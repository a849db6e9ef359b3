"""Muon with AdamW behind one optimizer, against torch.optim's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from forescale.errors import ForescaleError
from forescale.optimizers import MuonAdamW, make_optimizer
from forescale.optimizers import _muon as muon_module
from forescale.optimizers._muon import orthogonalized

NAMES = ("blocks.0.ffn.input.weight", "blocks.1.ffn.input.weight", "blocks.0.attention.qkv.weight", "embedding.weight")
SHAPES = ((6, 4), (6, 4), (4, 8), (7, 4))


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def group(params: list[torch.nn.Parameter], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    shared = {"lr": 0.02, "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-8}
    return {"params": params, "param_names": list(names), **shared}


def steps(optimizers: list[Any], params: list[torch.nn.Parameter], count: int, seed: int = 5) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


def test_equals_torchs_muon_and_adamw(monkeypatch) -> None:
    ours, theirs = parameters(), parameters()
    original = muon_module.orthogonalized
    monkeypatch.setattr(muon_module, "orthogonalized", lambda m: original(m, torch.bfloat16))
    steps([make_optimizer("muon", [group(ours)])], ours, 5)
    muon = torch.optim.Muon(theirs[:3], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(theirs[3:], lr=0.02, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, fused=True)
    steps([muon, adamw], theirs, 5)
    assert torch.equal(ours[3], theirs[3])
    # Ours rounds more often to bfloat16 (steps of 2**-7 near 1), so five updates may differ by a few of them each.
    tolerance = 5 * 0.02 * 0.2 * 8**0.5 * 4 * 2**-7
    for mine, other, start in zip(ours[:3], theirs[:3], parameters(), strict=False):
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance)
        assert float((other - start).detach().abs().max()) > 5 * tolerance


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16), (3, 8, 4)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    # Jordan et al. 2024: the coefficients trade convergence for speed; values end within about 0.7 to 1.2.
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.25


def test_each_expert_is_a_matrix_of_its_own() -> None:
    experts = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(1))
    stacked = orthogonalized(experts)
    for one, together in zip(experts, stacked, strict=True):
        torch.testing.assert_close(orthogonalized(one), together)


def test_the_split_takes_matrices_of_blocks_alone() -> None:
    names = (
        "blocks.0.attention.output.weight",
        "blocks.0.ffn.experts.input",
        "blocks.0.ffn.router.weight",
        "blocks.0.attention_norm.weight",
        "embedding.weight",
        "head.weight",
    )
    shapes = ((4, 4), (2, 8, 4), (2, 4), (4,), (7, 4), (7, 4))
    params = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    made = make_optimizer("muon", [group(params, names)])
    split = {g["optimizer"]: g["param_names"] for g in made.param_groups}
    assert split == {"muon": list(names[:2]), "adamw": list(names[2:])}


def test_a_group_may_name_its_optimizer() -> None:
    params = parameters()
    made = make_optimizer("muon", [{"params": params, "optimizer": "adamw", "lr": 0.1}])
    assert [g["optimizer"] for g in made.param_groups] == ["adamw"]


def test_a_resumed_run_is_the_same_run() -> None:
    whole, first, second = parameters(), parameters(), parameters()
    steps([make_optimizer("muon", [group(whole)])], whole, 3)
    optimizer, resumed = (make_optimizer("muon", [group(p)]) for p in (first, second))
    steps([optimizer], first, 3)
    with torch.no_grad():
        for a, b in zip(second, first, strict=True):
            a.copy_(b)
    resumed.load_state_dict(optimizer.state_dict())
    for params, used in ((first, optimizer), (second, resumed)):
        steps([used], params, 3, seed=9)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"params": [torch.nn.Parameter(torch.ones(3))], "optimizer": "muon"}], "matrices"),
        ([{"params": [], "optimizer": "sgd"}], "muon or adamw"),
    ],
)
def test_impossible_groups_are_refused(groups: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        MuonAdamW(groups)


def test_groups_without_names_are_refused() -> None:
    with pytest.raises(ForescaleError, match="param_names"):
        make_optimizer("muon", [{"params": parameters()}])
