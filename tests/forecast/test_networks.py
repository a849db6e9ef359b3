"""The networks' steps against their teacher-forced laws, and both against PyTorch's own LSTM."""

from __future__ import annotations

import pytest
import torch

from forescale.forecast import Density, Grid
from forescale.forecast._laws import LocationScaleHead
from forescale.forecast._networks import Inputs, SeparateNetwork
from forescale.forecast._shared import LevelsHead, SharedNetwork

GRID = Grid(bins=(6, 5, 4))
DENSITY = Density(grid=GRID)
NETWORKS = {
    "separate": lambda: SeparateNetwork(DENSITY, hidden=7, layers=2, extra=3),
    "separate, no tails": lambda: SeparateNetwork(Density(grid=GRID, tails=False), hidden=7, layers=1, extra=3),
    "shared": lambda: SharedNetwork(DENSITY, lambda width: LevelsHead(DENSITY, width, 9), hidden=7, layers=2, extra=3),
    "normal": lambda: SharedNetwork(
        DENSITY, lambda width: LocationScaleHead(GRID, width, 9, student=False), hidden=7, layers=1, extra=3, hot=False
    ),
    "student": lambda: SharedNetwork(
        DENSITY, lambda width: LocationScaleHead(GRID, width, 9, student=True), hidden=7, layers=1, extra=3, hot=False
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_give_back_the_values_whose_cdf_they_are_given(name: str) -> None:
    """The whole horizon at once by `nn.LSTM` and the CDF; step by step by our own cell and its inverse."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    z = torch.rand(4, 12, dtype=torch.float64) * 1.2 - 0.05
    bins, extra = GRID.encode(z), torch.rand(4, 11, 3, dtype=torch.float64)
    with torch.no_grad():
        cdf = network(Inputs(z=z, bins=bins, extra=extra)).cdf(z[:, 1:], bins[:, 1:])
        step = network.start(Inputs(z=z[:, :6], bins=bins[:, :6], extra=extra[:, :5]), 1)
        for t in range(5, 11):
            value, chosen = step(z[:, t], bins[:, t], extra[:, t], cdf[:, t])
            assert value.numpy() == pytest.approx(z[:, t + 1].numpy(), abs=1e-7)
            assert (chosen == bins[:, t + 1]).all()


def test_every_level_sees_what_the_paper_lets_it() -> None:
    """Level k's logits change with bins k and finer of the value before and those before k of the current one, no others."""
    torch.manual_seed(1)
    network = SeparateNetwork(Density(grid=GRID, tails=False), hidden=5, layers=1)
    bins = torch.zeros(1, 3, 3, dtype=torch.int64)
    z = torch.zeros(1, 3)
    base = network(Inputs(z=z, bins=bins)).logits
    seen = {}
    for step in (1, 2):  # the value before the last, and the last
        for level in range(3):
            other = bins.clone()
            other[0, step, level] = 1
            changed = network(Inputs(z=z, bins=other)).logits
            seen[step, level] = [bool((a[0, -1] != b[0, -1]).any()) for a, b in zip(changed, base, strict=True)]
    assert seen[2, 0] == [False, True, True]
    assert seen[2, 1] == [False, False, True]
    assert seen[2, 2] == [False, False, False]
    # The value before is current at its own step, so finer levels' states know its coarser bins from there.
    assert seen[1, 0] == [True, True, True]
    assert seen[1, 1] == [True, True, True]
    assert seen[1, 2] == [True, True, True]
