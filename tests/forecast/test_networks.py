"""The networks' steps against their teacher-forced laws, and both against PyTorch's own LSTM."""

from __future__ import annotations

import pytest
import torch

from forescale.forecast import Density, Grid
from forescale.forecast._laws import LocationScaleHead
from forescale.forecast._networks import Inputs, SeparateNetwork
from forescale.forecast._shared import LevelsHead, LSTMNetwork, TransformerNetwork
from forescale.forecast._transformer import turned

GRID = Grid(bins=(6, 5, 4))
DENSITY = Density(grid=GRID)


def transformer(hidden: int = 32, layers: int = 1, extra: int = 3) -> TransformerNetwork:
    return TransformerNetwork(
        DENSITY, lambda width: LevelsHead(DENSITY, width, 9), hidden=hidden, layers=layers, extra=extra
    )


NETWORKS = {
    "separate": lambda: SeparateNetwork(DENSITY, hidden=7, layers=2, extra=3),
    "separate, no tails": lambda: SeparateNetwork(Density(grid=GRID, tails=False), hidden=7, layers=1, extra=3),
    "transformer": lambda: transformer(layers=2),
    "transformer, one head": lambda: transformer(hidden=14),
    "normal transformer": lambda: TransformerNetwork(
        DENSITY, lambda width: LocationScaleHead(GRID, width, 9, student=False), hidden=8, layers=1, extra=3, hot=False
    ),
    "shared": lambda: LSTMNetwork(DENSITY, lambda width: LevelsHead(DENSITY, width, 9), hidden=7, layers=2, extra=3),
    "normal": lambda: LSTMNetwork(
        DENSITY, lambda width: LocationScaleHead(GRID, width, 9, student=False), hidden=7, layers=1, extra=3, hot=False
    ),
    "student": lambda: LSTMNetwork(
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


def test_paths_of_a_window_share_its_past_and_nothing_else() -> None:
    """Two windows of three paths and two layers, over more steps than a memory first has room for, against each path alone."""
    torch.manual_seed(2)
    network = transformer(layers=2).double()
    z = torch.rand(6, 50, dtype=torch.float64)
    z[:, :6] = z[::3, :6].repeat_interleave(3, 0)  # paths of a window have one past
    bins, extra = GRID.encode(z), torch.rand(6, 49, 3, dtype=torch.float64)
    extra[:, :5] = extra[::3, :5].repeat_interleave(3, 0)
    with torch.no_grad():
        cdf = network(Inputs(z=z, bins=bins, extra=extra)).cdf(z[:, 1:], bins[:, 1:])
        step = network.start(Inputs(z=z[::3, :6], bins=bins[::3, :6], extra=extra[::3, :5]), 3)
        for t in range(5, 49):
            value, _ = step(z[:, t], bins[:, t], extra[:, t], cdf[:, t])
            assert value.numpy() == pytest.approx(z[:, t + 1].numpy(), abs=1e-7)


def test_a_windows_keys_are_kept_once() -> None:
    """Sampling 500 paths leaves its keys and values as they were for one: [windows, heads, context, width]."""
    network = transformer()
    z = torch.rand(2, 8)
    rows = network.rows(Inputs(z=z, bins=GRID.encode(z), extra=torch.rand(2, 7, 3)))
    _, memories = network.transformer.remembered(rows)
    with torch.no_grad():
        network.transformer.step(torch.rand(2, 500, network.width), memories)
    assert memories[0].keys.shape == memories[0].values.shape == (2, 2, 7, 16)
    assert memories[0].own.shape == (2, 2, 2, 500, 32, 16)  # keys and values, with room for 32 steps


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "separate, no tails"])
def test_a_later_value_moves_no_earlier_law(name: str) -> None:
    torch.manual_seed(3)
    network = NETWORKS[name]()
    z = torch.rand(2, 12)
    other, bins = z.clone(), GRID.encode(z)
    other[:, 7] = 1 - other[:, 7].round()
    extra = torch.rand(2, 11, 3)
    inputs = (Inputs(z=each, bins=GRID.encode(each), extra=extra) for each in (z, other))
    with torch.no_grad():  # each law at the same values, so that it is the law that differs
        first, second = (network(each).cdf(z[:, 1:], bins[:, 1:]) for each in inputs)
    assert (first[:, :6] == second[:, :6]).all()
    assert (first[:, 7:] != second[:, 7:]).any()


@pytest.mark.parametrize(("hidden", "layers", "extra"), [(64, 2, 5), (14, 1, 0)])
def test_parameters_of_a_transformer(hidden: int, layers: int, extra: int) -> None:
    """A block: 3 w^2 + w^2 of attention, 8 w^2 + 5 w of the hidden layer, 2 w of the norms. Ours beside: inputs and head."""
    made = transformer(hidden, layers, extra)
    inputs = sum(GRID.bins) + 2 + extra
    blocks = layers * (12 * hidden**2 + 7 * hidden)
    assert sum(each.numel() for each in made.transformer.parameters()) == inputs * hidden + hidden + blocks + hidden


def test_turns_depend_on_the_distance_alone() -> None:
    """Su et al. 2021: products of turned queries and keys stay the same where both move on."""
    q, k = torch.rand(2, 16, dtype=torch.float64)
    products = [
        float(turned(q[None], torch.tensor([a])) @ turned(k[None], torch.tensor([b])).T)
        for a, b in ((9, 2), (107, 100), (9, 3))
    ]
    assert products[0] == pytest.approx(products[1])
    assert products[0] != pytest.approx(products[2])
