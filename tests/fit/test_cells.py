"""Cells: grouping, and the three readings of the loss between runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.fit import Cell, make_cells
from forescale.runs import read_runs


def bowl(rate: float, batch: float) -> float:
    """A convex loss with its minimum, 3, at learning rate 2e-3 and a batch of 2^18 tokens."""
    return 3 * math.exp(0.004 * math.log(rate / 2e-3) ** 2 + 0.003 * math.log(batch / 2**18) ** 2)


RATES = [2.0**k * 2e-3 for k in range(-3, 4)]
BATCHES = [2.0 ** (18 + k) for k in range(-2, 3)]
GRID = [(rate, batch, bowl(rate, batch)) for rate in RATES for batch in BATCHES]


def frame(points: list[tuple[float, float, float]], params: float = 1e8, tokens: float = 1e10) -> pl.DataFrame:
    rates, batches, losses = zip(*points, strict=True)
    return pl.DataFrame(
        {"params": params, "tokens": tokens, "learning_rate": rates, "batch_tokens": batches, "loss": losses}
    )


def one(points: list[tuple[float, float, float]]) -> Cell:
    (cell,) = make_cells(read_runs(frame(points))).cells
    return cell


def test_the_runs_themselves_are_read_back() -> None:
    cell = one(GRID)
    gaps = cell.gaps([r for r, _, _ in GRID], [b for _, b, _ in GRID])
    expected = [loss / 3 - 1 for _, _, loss in GRID]
    np.testing.assert_allclose(gaps.nearest, expected, atol=1e-12)
    np.testing.assert_allclose(gaps.linear, expected, atol=1e-12)
    np.testing.assert_allclose(gaps.smooth, expected, atol=1e-3)  # a smoothing spline, not an interpolating one
    assert not gaps.clipped.any()


def test_linear_is_exact_for_a_loss_that_is_linear_in_the_logarithms() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-8, -4, 40), rng.uniform(11, 15, 40)
    log_loss = 1 + 0.01 * x + 0.02 * y
    cell = one([*zip(np.exp(x), np.exp(y), np.exp(log_loss), strict=True)])
    gaps = cell.gaps(math.exp(-6), math.exp(13))
    assert gaps.linear[0] == pytest.approx(math.expm1(1 - 0.06 + 0.26 - log_loss.min()), rel=1e-9)
    assert gaps.smooth[0] == pytest.approx(gaps.linear[0], rel=1e-6)  # a thin plate holds planes exactly


def test_points_outside_are_moved_to_the_edge_and_marked() -> None:
    cell = one(GRID)
    gaps = cell.gaps([2e-3, 1.0, 2e-3], [2.0**18, 2.0**18, 1.0])
    assert gaps.clipped.tolist() == [False, True, True]
    assert gaps.nearest[1] == pytest.approx(bowl(RATES[-1], 2**18) / 3 - 1)
    assert gaps.nearest[2] == pytest.approx(bowl(2e-3, BATCHES[0]) / 3 - 1)


def test_the_smooth_minimum_is_the_bowls() -> None:
    rate, batch = one(GRID).smooth_optimum()
    assert math.log2(rate / 2e-3) == pytest.approx(0, abs=0.1)
    assert math.log2(batch / 2**18) == pytest.approx(0, abs=0.1)


def test_one_batch_makes_a_curve() -> None:
    cell = one([(rate, 2.0**18, bowl(rate, 2**18)) for rate in RATES])
    gaps = cell.gaps([RATES[2], math.sqrt(RATES[2] * RATES[3])], 2.0**18)
    assert gaps.linear[0] == pytest.approx(bowl(RATES[2], 2**18) / 3 - 1)
    assert gaps.linear[1] == pytest.approx(math.sqrt(bowl(RATES[2], 2**18) / 3) - 1, rel=1e-9)
    assert 0 < gaps.smooth[1] < gaps.linear[1]  # a smooth curve lies below a convex function's chord
    assert cell.gaps(2e-3, 2.0**19).clipped[0]
    assert cell.smooth_optimum() == pytest.approx((2e-3, 2**18), rel=0.05)


def test_a_line_in_the_plane_makes_a_curve() -> None:
    # The learning rate follows the square root of the batch: Delaunay has no triangle to offer.
    cell = one(
        [(2e-3 * 2 ** (k / 2), 2.0 ** (18 + k), bowl(2e-3 * 2 ** (k / 2), 2.0 ** (18 + k))) for k in range(-3, 4)]
    )
    assert cell.gaps(2e-3, 2.0**18).linear[0] == pytest.approx(0, abs=1e-12)
    assert cell.has_smooth


def test_two_runs_have_a_linear_reading_only() -> None:
    cell = one([(1e-3, 2.0**18, 3.0), (2e-3, 2.0**18, 3.1)])
    gaps = cell.gaps(math.sqrt(2e-6), 2.0**18)
    assert gaps.linear[0] == pytest.approx(math.sqrt(3.1 / 3) - 1)
    assert gaps.smooth[0] == gaps.linear[0]
    assert not cell.has_smooth


def test_a_cross_of_two_slices_is_scored_and_its_floor_lies_among_the_runs() -> None:
    cross = [(rate, 2.0**18, bowl(rate, 2**18)) for rate in RATES] + [
        (2e-3, batch, bowl(2e-3, batch)) for batch in BATCHES if batch != 2**18
    ]
    cell = one([*cross, (64e-3, 2.0**18, 11.0)])  # and one that diverged
    assert np.isfinite(cell.gaps(RATES[1], BATCHES[1]).linear[0])
    rate, batch = cell.smooth_optimum()
    assert cell.gaps(rate, batch).nearest[0] == pytest.approx(0, abs=0.005)


def test_the_smooth_surface_is_not_read_where_runs_diverged() -> None:
    points = [*GRID, *((32e-3, batch, 11.0) for batch in BATCHES)]
    gaps = one(points).gaps(30e-3, 2.0**18)
    assert gaps.smooth[0] == gaps.linear[0] > 1


def test_of_repeated_settings_the_lowest_loss_counts() -> None:
    cells = make_cells(read_runs(frame([*GRID, (RATES[0], BATCHES[0], 2.9)])))
    assert cells.repeated == 1
    assert cells.cells[0].minimum == pytest.approx(2.9)
    assert len(cells.cells[0].points) == len(GRID)


def test_cells_of_one_setting_are_left_out_and_counted() -> None:
    alone = frame([(1e-3, 2.0**18, 3.0)], params=2e8)
    cells = make_cells(read_runs(pl.concat([frame(GRID), alone, alone])))
    assert (len(cells.cells), cells.alone) == (1, 1)


def test_infinite_losses_are_no_part_of_a_surface() -> None:
    cell = one([*GRID, (32e-3, 2.0**18, math.inf)])
    assert len(cell.points) == len(GRID)


def test_the_edge_is_seen() -> None:
    assert not one(GRID).on_edge
    assert one([point for point in GRID if point[0] >= 2e-3]).on_edge
    assert not one([(rate, 2.0**18, bowl(rate, 2**18)) for rate in RATES]).on_edge  # one batch has no edge in batch


def test_cells_of_the_step_law_sweep(data: Path) -> None:
    # facts: the lowest losses and their places in the source, by N and D.
    runs = read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048)
    cells = make_cells(runs)
    assert (len(cells.cells), cells.alone, cells.repeated) == (13, 0, 0)
    found = {(f"{c.params:.3e}", f"{c.tokens:.3g}"): c for c in cells.cells}
    cell = found["1.074e+09", "2e+10"]
    assert cell.minimum == pytest.approx(2.2255, abs=5e-5)
    i = cell.log_loss.argmin()
    assert math.exp(cell.points[i, 0]) == pytest.approx(1.381e-3)
    assert math.exp(cell.points[i, 1]) == pytest.approx(524288)


@given(
    st.lists(
        st.tuples(st.floats(1e-5, 1.0), st.sampled_from([1024.0, 1e5, 1.1e5, 3e7]), st.floats(0.5, 12.0)),
        min_size=2,
        max_size=12,
        unique_by=lambda run: run[:2],
    )
)
@settings(max_examples=200, deadline=None)
def test_any_runs_make_surfaces(points: list[tuple[float, float, float]]) -> None:
    cell = one(points)
    for rate, batch in (cell.smooth_optimum(), (1e-3, 1e5), (1e9, 1.0)):
        gaps = cell.gaps(rate, batch)
        assert np.isfinite([gaps.nearest, gaps.linear, gaps.smooth]).all()
        assert gaps.nearest[0] >= 0
        assert gaps.linear[0] >= -1e-12
