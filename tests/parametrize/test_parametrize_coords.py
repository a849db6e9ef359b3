"""The coordinate check of SµPar (2405.15743, Figure 5) at a small width, by a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from forescale.parametrize import parametrization
from forescale.train import ModelOptions, build_model
from forescale.workload import Shape

# As the paper's: m_N = 8, and hidden matrices that multiply by 0.02 sqrt(2048 / 8) = 0.32 at the start.
SHAPE = Shape(width=256, layers=2, heads=8, vocab=64, gated=False)
BASE = Shape(width=32, depth=2)
STD = 0.02 * 8**0.5
DENSITIES = (1.0, 1 / 16)


def mlp_sizes(scheme: str, density: float, steps: int) -> list[float]:
    """Mean |output| of the last block's FFN before each step of AdamW at the paper's rate of 1e-2."""
    options = {"density": density} if scheme == "supar" else {}
    rules = parametrization(scheme, base=BASE, init_std=STD, **options)
    model = build_model(SHAPE, ModelOptions(density=density), seq_len=32)
    rules.initialize_(model, 0)
    optimizer = torch.optim.AdamW(rules.param_groups(model, 1e-2), fused=True)
    seen: list[float] = []
    model.blocks[-1].ffn.register_forward_hook(lambda m, x, y: seen.append(y.abs().mean().item()))  # noqa: ARG005
    tokens = torch.randint(0, SHAPE.vocab, (2, 33), generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        loss = functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return seen


@pytest.fixture(scope="module")
def sizes() -> dict[str, list[list[float]]]:
    return {s: [mlp_sizes(s, d, 3) for d in DENSITIES] for s in ("supar", "mup")}


def test_supar_is_flat_in_the_density_at_the_start(sizes: dict[str, list[list[float]]]) -> None:
    """Noise-and-sparsity 9.8: at step 1 flat within 10 %."""
    first = [seen[0] for seen in sizes["supar"]]
    assert max(first) / min(first) < 1.1


def test_mup_falls_with_the_density(sizes: dict[str, list[list[float]]]) -> None:
    """Noise-and-sparsity 9.8: about 18-fold from density 1 to 1/16."""
    first = [seen[0] for seen in sizes["mup"]]
    assert 14 < first[0] / first[-1] < 22


def test_supar_stays_flat_in_training_and_mup_does_not(sizes: dict[str, list[list[float]]]) -> None:
    for step in (1, 2):
        supar, mup = ([seen[step] for seen in sizes[s]] for s in ("supar", "mup"))
        assert max(supar) / min(supar) < 1.5
        assert mup[0] / mup[-1] > 3
