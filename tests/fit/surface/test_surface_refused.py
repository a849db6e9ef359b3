"""Sweeps that tell no surface: each is one sentence that says what to add."""

from __future__ import annotations

import polars as pl
import pytest
from planted_surface import planted, planted_runs

from forescale import ForescaleError
from forescale.fit.surface import fit_surface, score_surface
from forescale.runs import read_runs


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (planted(sizes=(1e8,), ratios=(20.0,)), "one .* cell"),
        (planted(rates=1), "two learning rates"),
        (planted().with_columns(loss=pl.lit(float("inf"))), "diverged"),
        (planted(sizes=(1e8, 2e8), ratios=(20.0,), rates=3, batches=1), "coefficients to fit: add runs"),
    ],
    ids=["one cell", "one learning rate", "all diverged", "fewer runs than coefficients"],
)
def test_a_sweep_that_tells_no_surface_is_refused(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(ForescaleError, match=says) as caught:
        fit_surface(read_runs(frame))
    assert "\n" not in str(caught.value)


def test_scoring_needs_runs_that_trained() -> None:
    surface = fit_surface(planted_runs(sizes=(1e8, 4e8)))
    with pytest.raises(ForescaleError, match="diverged"):
        score_surface(read_runs(planted().with_columns(loss=pl.lit(float("inf")))), surface)


def test_runs_of_one_loss_have_no_r2() -> None:
    surface = fit_surface(planted_runs(sizes=(1e8, 4e8)))
    scored = score_surface(read_runs(planted().head(1)), surface)
    assert scored.r2 is None
    assert scored.choice is None
    assert scored.mae is not None


def test_the_same_runs_are_known_again() -> None:
    runs = planted_runs(sizes=(1e8, 4e8))
    assert score_surface(runs, fit_surface(runs)).same_runs


def test_a_nameless_surface_is_refused() -> None:
    with pytest.raises(ForescaleError, match="name"):
        fit_surface(planted_runs(sizes=(1e8, 4e8)), name=" ")
