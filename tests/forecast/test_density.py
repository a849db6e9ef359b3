"""The density on nested bins: it integrates to 1, its CDF is its integral, its quantiles invert the CDF."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale import ForescaleError
from forescale.forecast import Density, Grid

GRIDS = {
    "flat": Grid(bins=(60,)),
    "two levels": Grid(bins=(7, 9), low=-0.5, high=1.5),
    "published": Grid(bins=(16, 11, 94)),
    "four levels": Grid(bins=(3, 4, 5, 2), low=-2.0, high=5.0),
    "start at zero": Grid(bins=(5, 5), low=0.0, high=1.0),  # a Pareto law needs a positive start
    "all positive": Grid(bins=(5, 5), low=2.0, high=3.0),
}


def law(grid: Grid, seed: int = 0):
    """Random logits for every choice of coarser bins, and tail shapes: a whole law, not only one way down."""
    torch.manual_seed(seed)
    tables = [torch.randn(*grid.bins[: k + 1], dtype=torch.float64) * 2 for k in range(grid.levels)]
    return tables, torch.tensor([1.7, 2.4], dtype=torch.float64)


def conditional(tables):
    return lambda level, chosen: tables[level][tuple(chosen)] if chosen else tables[0].expand(1, -1)


def on_the_way(grid: Grid, tables, z: torch.Tensor):
    bins = grid.encode(z)
    return bins, [
        tables[k][tuple(bins[:, j] for j in range(k))] if k else tables[0].expand(len(z), -1)
        for k in range(grid.levels)
    ]


@pytest.mark.parametrize("tails", [True, False])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_density_integrates_to_one(grid: Grid, tails: bool) -> None:
    density = Density(grid=grid, tails=tails)
    tables, shapes = law(grid)
    inner = torch.linspace(grid.low, grid.high, grid.intervals + 1, dtype=torch.float64)
    middles = (inner[1:] + inner[:-1]) / 2
    bins, logits = on_the_way(grid, tables, middles)
    probability = (density.log_prob(middles, bins, logits, shapes).exp() * grid.width)[1:-1].sum()
    ends = torch.zeros((), dtype=torch.float64)
    for sign, edge in ((-1, inner[1]), (1, inner[-2])):  # over ln(1 + distance from the edge), by the trapezoid rule
        t = torch.linspace(0, 40, 100_001, dtype=torch.float64)
        z = edge + sign * (torch.expm1(t) + 1e-12)
        bins, logits = on_the_way(grid, tables, z)
        log_prob = density.log_prob(z, bins, logits, shapes.expand(len(z), 2))
        ends += torch.trapezoid((log_prob + t).exp(), t)
    assert float(probability + ends) == pytest.approx(1, abs=2e-5 if tails else 2e-3)


def test_the_authors_nudge_loses_a_part_of_the_tail() -> None:
    grid = GRIDS["published"]
    tables, shapes = law(grid)
    z = torch.tensor([1e3], dtype=torch.float64)
    bins, logits = on_the_way(grid, tables, z)
    plain, nudged = (
        Density(grid=grid, nudge=nudge).log_prob(z, bins, logits, shapes.expand(1, 2)).item() for nudge in (0.0, 0.01)
    )
    assert nudged < plain
    assert nudged == pytest.approx(plain, abs=1e-4)  # (1e3 / (1e3 + 0.01))^(a + 1) is near 1


@pytest.mark.parametrize("tails", [True, False])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_cdf_is_the_integral_of_the_density(grid: Grid, tails: bool) -> None:
    density = Density(grid=grid, tails=tails)
    tables, shapes = law(grid, 1)
    span = grid.high - grid.low
    z = torch.linspace(grid.low - tails * span, grid.high + tails * span, 4001, dtype=torch.float64) + 1e-9
    bins, logits = on_the_way(grid, tables, z)
    cdf = density.cdf(z, bins, logits, shapes.expand(len(z), 2))
    assert bool((cdf.diff() >= 0).all())
    slope = (density.cdf(z + 1e-7, bins, logits, shapes.expand(len(z), 2)) - cdf) / 1e-7
    same = (grid.encode(z + 1e-7) == bins).all(-1) & (z + 1e-7 < grid.high + tails * 9 * span)
    expected = density.log_prob(z, bins, logits, shapes.expand(len(z), 2)).exp()
    assert slope[same].numpy() == pytest.approx(expected[same].numpy(), rel=1e-5, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(GRIDS)), st.booleans(), st.floats(1e-6, 1 - 1e-6))
def test_quantile_inverts_the_cdf(name: str, tails: bool, u: float) -> None:
    grid = GRIDS[name]
    density = Density(grid=grid, tails=tails)
    tables, shapes = law(grid, 2)
    z, bins = density.quantile(torch.tensor([u], dtype=torch.float64), conditional(tables), shapes)
    logits = [conditional(tables)(k, [bins[:, j] for j in range(k)]) for k in range(grid.levels)]
    assert density.cdf(z, bins, logits, shapes).item() == pytest.approx(u, abs=1e-9)


def test_samples_have_the_density() -> None:
    grid = Grid(bins=(4, 5), low=0.0, high=1.0)
    density = Density(grid=grid)
    tables, shapes = law(grid, 3)
    u = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z, _ = density.quantile(u, lambda k, c: conditional(tables)(k, c).expand(len(u), -1), shapes)
    probability = torch.softmax(tables[0], -1)[:, None] * torch.softmax(tables[1], -1)
    counts = torch.bincount((z.clamp(0, 0.999) * 20).long(), minlength=20) / len(u)
    assert counts.numpy() == pytest.approx(probability.flatten().numpy(), abs=5 * 0.5 / math.sqrt(len(u)))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(list(GRIDS)), st.floats(-10, 10))
def test_a_value_lies_in_its_bins(name: str, z: float) -> None:
    grid = GRIDS[name]
    place = int(grid.place(grid.encode(torch.tensor([z], dtype=torch.float64))))
    exact = np.clip(np.floor((z - grid.low) / grid.width), 0, grid.intervals - 1)
    distance = abs((z - grid.low) / grid.width - round((z - grid.low) / grid.width))
    assert place == exact or distance < 1e-6  # on an edge rounding decides


def test_widths_of_the_published_grids() -> None:
    """forecasting facts, table of bins: from the authors' code."""
    widths = [
        ((16, 11, 94), -0.1, 1.3, 8.46e-5),
        ((20, 20, 20), -0.1, 1.3, 1.75e-4),
        ((12, 12, 12), -0.08, 1.2, 7.41e-4),
    ]
    for bins, low, high, width in widths:
        assert Grid(bins=bins, low=low, high=high).width == pytest.approx(width, rel=1e-3)
    assert (Grid(bins=(16, 11, 94)).outputs, Grid(bins=(16, 11, 94)).intervals) == (121, 16_544)


@pytest.mark.parametrize("wrong", [{"bins": ()}, {"bins": (4, 1)}, {"low": 1.0, "high": 1.0}])
def test_a_grid_that_cannot_be(wrong) -> None:
    with pytest.raises(ForescaleError, match="got"):
        Grid(**wrong)
