"""The surface on other people's sweeps, scored on cells that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from forescale.fit import score
from forescale.fit.surface import SurfaceScore, fit_surface, score_surface
from forescale.runs import Runs, read_runs

COMPUTE = pl.col("params") * pl.col("tokens")


@pytest.fixture(scope="module")
def dense(data: Path) -> Runs:
    return read_runs(data / "step-law" / "dense_lr_bs_loss.csv", seq_len=2048)


@pytest.fixture(scope="module")
def moe(data: Path) -> Runs:
    return read_runs(data / "step-law" / "moe_lr_bs_loss.csv")


def part(runs: Runs, chosen: pl.Expr) -> Runs:
    return replace(runs, frame=runs.frame.filter(chosen))


def held_out(runs: Runs, out: pl.Expr) -> SurfaceScore:
    scored = score_surface(part(runs, out), fit_surface(part(runs, ~out)))
    assert not scored.same_runs
    return scored


@pytest.fixture(scope="module")
def largest(dense: Runs) -> SurfaceScore:
    """The three cells of the two largest models, fitted to models of half the size at most."""
    return held_out(dense, pl.col("params") > 5e8)


def test_losses_of_the_largest_models_are_foretold(largest: SurfaceScore) -> None:
    # The bar is the best published agent's R2 on the public benchmark of this data, 0.983 (facts, row 12; its split and
    # rows are not stated): met near the optimum. Over all runs that trained, a smoother that has seen the cell (a
    # Gaussian process, leave one run out, benchmarks/bench_surface.py) reaches 0.97: runs near the edge scatter by 1 %.
    assert largest.near.r2 is not None
    assert largest.r2 is not None
    assert largest.near.r2 > 0.983
    assert largest.r2 > 0.95


def test_the_choice_for_the_largest_models_beats_published_step_law(dense: Runs, largest: SurfaceScore) -> None:
    published = score(part(dense, pl.col("params") > 5e8), ["step-law"]).laws[0]
    assert largest.choice is not None
    assert largest.choice.smooth.mean < published.smooth.mean


def test_losses_beyond_the_tokens_and_compute_fitted_are_foretold(dense: Runs) -> None:
    # Within 0.3 % of the loss on average over twice the tokens fitted and the four most expensive cells.
    for out in (pl.col("tokens") > 7e10, COMPUTE > 1.8e19):
        scored = held_out(dense, out)
        assert scored.near.bias is not None
        assert abs(scored.near.bias) < 0.003
        assert scored.r2 is not None
        assert scored.r2 > 0.88


def test_intervals_hold_four_in_five_on_cells_left_out(dense: Runs) -> None:
    # The 80 % interval, over five of the cells left out in turn: 70 to 90 % of runs, as calibration must.
    cells = dense.frame["cell"].unique().sort().to_list()[::3]
    scores = [held_out(dense, pl.col("cell") == cell).all for cell in cells]
    share = sum(s.covered * s.runs for s in scores if s.covered is not None) / sum(s.runs for s in scores)
    assert 0.70 < share < 0.93


def test_diverged_runs_are_foretold(dense: Runs) -> None:
    # 130 of 1,508 runs diverged; a logistic regression of scikit-learn finds 108 to 109 of them with 18 to 20 false.
    called = score_surface(dense, fit_surface(dense)).called
    assert called["diverged"] == 130
    assert called["foretold"] > 100
    assert called["false_alarms"] < 30


def test_experts_are_foretold_from_experts_and_from_dense_models(dense: Runs, moe: Runs) -> None:
    # The largest active size out; and all eight cells from dense models alone, across recipes.
    assert (held_out(moe, pl.col("active_params") > 1e9).r2 or 0) > 0.983
    across = score_surface(moe, fit_surface(dense))
    assert (across.r2 or 0) > 0.94


def test_one_batch_holds_the_batch_at_published_step_law(dense: Runs) -> None:
    runs = part(dense, pl.col("batch_tokens") == 256 * 2048)
    surface = fit_surface(runs)
    assert {"log_batch", "batch_tokens", "along_batch_1"} <= set(surface.held)
    assert any("batch" in note for note in surface.notes)
    scored = held_out(runs, COMPUTE > 1.8e19)
    assert (scored.r2 or 0) > 0.9
    assert scored.choice is not None
    assert scored.choice.linear.mean < 0.003


def test_one_model_size_holds_the_exponents_of_params(dense: Runs) -> None:
    surface = fit_surface(part(dense, pl.col("params").is_between(4.2e8, 4.4e8)))
    assert {"alpha", "rate_params", "batch_params"} <= set(surface.held)
    assert any("one value of params" in note for note in surface.notes)
    assert surface.outside(8.6e8, 2e10)["params"] == pytest.approx(2, rel=0.01)


def test_a_small_sweep_of_another_lab_does_not_fall_apart(data: Path) -> None:
    # misfitting: three learning rates a cell, one batch of 2^20 tokens. Eight cells of one size, 24 runs.
    frame = pl.read_csv(data / "misfitting" / "scaling_results_last_ckpt_only.csv")
    table = frame.select(
        params="N_no_emb",
        tokens="D",
        learning_rate="peak_lr",
        loss="loss",
        batch_tokens=pl.col("D") / pl.col("current_steps"),
    )
    runs = read_runs(table)
    small = part(runs, pl.col("cell").is_in(list(range(8))))
    surface = fit_surface(small)
    assert (score_surface(small, surface).r2 or 0) > 0.97
    assert any("shape is held" in note for note in surface.notes)
    assert 1e-4 < surface.best(*small.frame.select("params", "tokens").row(0)).learning_rate < 1e-1
