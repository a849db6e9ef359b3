"""Laws of nature of a fit, on sweeps whose law is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from fit_sweeps import BATCH, LR, planted
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.fit import FittedLaw, fit_law
from forescale.fit._protocols import TITLES
from forescale.runs import read_runs

PARAMS_TOO = ("params", "tokens")


def fit(table: pl.DataFrame, protocol: str = "auto", **options: object) -> FittedLaw:
    options = {"bootstraps": 200, "batch_inputs": PARAMS_TOO} | options
    return fit_law(read_runs(table), protocol=protocol, **options)  # type: ignore[arg-type]


def exponents(fitted: FittedLaw) -> list[float]:
    return [e for formula in fitted.law.predicts.values() for e in formula.exponents.values()]


@pytest.mark.parametrize("protocol", TITLES)
def test_a_planted_law_is_recovered(protocol: str) -> None:
    fitted = fit(planted(), protocol)
    for formula, (coefficient, a, b) in zip(fitted.law.predicts.values(), (LR, BATCH), strict=True):
        assert formula.exponents == pytest.approx({"params": a, "tokens": b}, abs=1e-6)
        assert formula.constants["coefficient"] == pytest.approx(coefficient, rel=1e-4)
    assert fitted.held_out[0].nearest.mean == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("protocol", ["bowl", "vertex"])
def test_a_bowl_is_recovered_from_a_grid_that_misses_the_optimum(protocol: str) -> None:
    fitted = fit(planted(centred=False), protocol)
    assert exponents(fitted) == pytest.approx([*LR[1:], *BATCH[1:]], abs=1e-6)


def test_intervals_hold_the_planted_exponents() -> None:
    hits = []
    for seed in range(12):
        fitted = fit(planted(noise=1e-3, seed=seed), "bowl", bootstraps=400)
        for quantity, planted_law in (("learning_rate", LR), ("batch_tokens", BATCH)):
            c = fitted.coefficients[quantity]
            hits += [
                c[name].low <= value <= c[name].high for name, value in zip(PARAMS_TOO, planted_law[1:], strict=True)
            ]
    assert np.mean(hits) > 0.55  # of 80 % intervals, from eight cells


@settings(deadline=None, max_examples=10)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.sampled_from(list(TITLES)))
def test_units_move_the_coefficient_only(tokens: float, rate: float, protocol: str) -> None:
    table = planted(noise=1e-3, centred=False)
    scaled = table.with_columns(
        pl.col("learning_rate") * rate / 100, pl.col("tokens") * tokens, pl.col("batch_tokens") * tokens
    )
    table = table.with_columns(pl.col("learning_rate") / 100)
    one, other = (fit(t, protocol) for t in (table, scaled))
    assert exponents(other) == pytest.approx(exponents(one), abs=1e-7)
    for a, b, factor in zip(one.law.predicts.values(), other.law.predicts.values(), (rate, tokens), strict=True):
        moved = a.constants["coefficient"] * factor * tokens ** -a.exponents["tokens"]
        assert b.constants["coefficient"] == pytest.approx(moved, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(list(TITLES)))
def test_the_order_of_the_runs_does_not_matter(seed: int, protocol: str) -> None:
    table = planted(noise=1e-3, centred=False)
    one, other = (fit(t, protocol) for t in (table, table.sample(fraction=1.0, shuffle=True, seed=seed)))
    assert exponents(other) == pytest.approx(exponents(one), abs=1e-9)
    for quantity in one.coefficients:
        for name, c in one.coefficients[quantity].items():
            assert other.coefficients[quantity][name].stderr == pytest.approx(c.stderr, rel=1e-6, abs=1e-9)
