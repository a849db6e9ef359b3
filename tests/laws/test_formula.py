from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.laws import Formula, law, names
from forescale.laws._families import FAMILIES

ALL = [(name, quantity) for name in names() for quantity in law(name).predicts]
POWERS = [(n, q) for n, q in ALL if law(n).formula(q).family in ("power", "exp-log-linear")]
VALUES = {
    "params": [2e8, 1e9, 5e9],
    "tokens": [4e9, 2e10, 3e11],
    "unique_tokens": [4e9, 5e9, 1e10],
    "tokens_per_param": [20.0, 20.0, 60.0],
    "compute": [4.8e18, 1.2e20, 9e21],
    "flops_per_token": [1.2e9, 6e9, 3e10],
    "loss": [3.2, 2.7, 2.2],
    "width": [512.0, 1024.0, 2048.0],
    "batch_tokens": [1.3e5, 5e5, 4e6],
    "active_share": [1.0, 0.3, 0.1],
    "sparsity": [0.0, 0.5, 0.75],
    "nonzero_params": [2e8, 1e9, 5e9],
}
REFERENCES = {"batch_tokens": 5e5, "params": 1e9, "tokens": 2e10, "width": 1024.0, "learning_rate": 1e-3}


def _x(formula: Formula, index: int | None = None) -> dict[str, Any]:
    x: dict[str, Any] = {}
    for name in formula.inputs:
        if name.startswith("reference_"):
            x[name] = REFERENCES.get(name.removeprefix("reference_"), 0.01)
        else:
            x[name] = np.array(VALUES[name]) if index is None else VALUES[name][index]
    return x


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_an_array_gives_what_its_elements_give(name: str, quantity: str) -> None:
    formula = law(name).formula(quantity)
    one_by_one = [formula.evaluate(_x(formula, i)) for i in range(3)]
    assert all(isinstance(v, float) for v in one_by_one)
    assert formula.evaluate(_x(formula)) == pytest.approx(one_by_one, rel=1e-12)


def test_every_family_is_in_the_catalog() -> None:
    fitted_only = {"experts"}  # no published constants of this form are in our sources
    assert {law(n).formula(q).family for n, q in ALL} | fitted_only == set(FAMILIES)


@pytest.mark.parametrize(("name", "quantity"), POWERS)
@given(k=st.floats(0.1, 10), index=st.integers(0, 2))
def test_power_laws_are_homogeneous(name: str, quantity: str, k: float, index: int) -> None:
    formula = law(name).formula(quantity)
    if formula.maximum is not None:
        formula = law(name).formula(quantity).__class__(**{**vars(formula), "maximum": None})
    x = _x(formula, index)
    for axis, exponent in formula.exponents.items():
        scaled = formula.evaluate({**x, axis: k * x[axis]})
        assert scaled == pytest.approx(k**exponent * formula.evaluate(x), rel=1e-9)


@given(k=st.floats(0.1, 10), tokens=st.floats(1e8, 1e12), batch=st.floats(1e4, 1e7))
def test_completed_p_keeps_the_timescale(k: float, tokens: float, batch: float) -> None:
    # facts/timescale-schedule-parametrization.md 7.3: tau = B / (lr wd D) is invariant under the batch and token rules,
    # and scaling both together changes nothing.
    rule = law("completed-p")
    x = {"batch_tokens": k * batch, "tokens": tokens, "reference_batch_tokens": batch, "reference_tokens": 2e10}
    rate = rule.predict("learning_rate", reference_learning_rate=1e-3, **x)
    decay = rule.predict("weight_decay", reference_weight_decay=0.1, **x)
    assert k * batch / (rate * decay * tokens) == pytest.approx(batch / (1e-3 * 0.1 * 2e10))
    both = {**x, "tokens": k * 2e10}
    assert rule.predict("learning_rate", reference_learning_rate=1e-3, **both) == pytest.approx(1e-3)


@pytest.mark.parametrize(("N", "D"), [(2e8, 1e10), (1.07e9, 1e11), (7e10, 1.5e13)])
def test_delta_method_agrees_with_the_authors_bootstrap(data: Path, N: float, D: float) -> None:
    # Monte Carlo: the 1000 fits that the authors of Step Law released.
    fits = pl.read_csv(data / "step-law" / "1004_fitted_lr_bs_scaling_model_parameters.csv")
    lr = fits["lr_intercept"] + fits["lr_coefN"] * np.log(N) + fits["lr_coefD"] * np.log(D)
    batch = fits["bs_intercept"] + fits["bs_coefD"] * np.log(D)
    x = {"params": N, "tokens": D}
    assert law("step-law").formula("learning_rate").log_sd(x) == pytest.approx(lr.std(), rel=0.05)
    assert law("step-law").formula("batch_tokens").log_sd(x) == pytest.approx(batch.std(), rel=0.05)


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_uncertainty_is_finite_where_it_is_known(name: str, quantity: str) -> None:
    formula = law(name).formula(quantity)
    sd = formula.log_sd(_x(formula, 1))
    assert (sd is not None) == bool(formula.covariance or formula.intervals)
    assert sd is None or 0 < sd < 2


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_covariances_are_symmetric_and_positive(name: str, quantity: str) -> None:
    if matrix := law(name).formula(quantity).covariance:
        array = np.array(matrix)
        assert array == pytest.approx(array.T, rel=1e-7)
        assert np.linalg.eigvalsh(array / np.sqrt(np.outer(np.diag(array), np.diag(array)))).min() > 0


def test_interval_is_read_as_80_percent() -> None:
    # An exponent e of x = 10 with the 80 % interval [e - 0.1, e + 0.1]: sd of ln y = 0.1 ln 10 / 1.28155.
    formula = Formula(
        quantity="q", family="power", constants={"coefficient": 1.0}, exponents={"tokens": 0.5}, intervals={"tokens": (0.4, 0.6)}
    )  # fmt: skip
    assert formula.log_sd({"tokens": 10.0}) == pytest.approx(0.1 * np.log(10) / 1.2815515655446004)


def test_units_convert_on_the_way_in_and_out() -> None:
    formula = Formula(
        quantity="q",
        family="power",
        constants={"coefficient": 3.0},
        exponents={"params": 2.0},
        input_units={"params": 1e6},
        unit_size=512,
    )
    assert formula.evaluate({"params": 5e6}) == 3 * 5**2 * 512


def test_zhang_reads_millions_of_parameters_and_sequences() -> None:
    # 93.20 * 85^0.47 sequences of 512 tokens.
    assert law("zhang-cbs").predict("critical_batch_tokens", params=8.5e7) == pytest.approx(93.20 * 85**0.47 * 512)


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ForescaleError, match="learning_rate needs reference_batch_tokens, reference_learning_rate"):
        law("square-root-batch").predict("learning_rate", batch_tokens=1e5)


def test_unknown_quantity_lists_the_known_ones() -> None:
    with pytest.raises(ForescaleError, match="does not predict timescale; it predicts batch_tokens, learning_rate"):
        law("step-law").predict("timescale", params=1e9, tokens=2e10)


@pytest.mark.parametrize(
    ("name", "quantity", "text"),
    [
        ("step-law", "learning_rate", "1.79 N^-0.713 D^+0.307"),
        ("bjorck", "learning_rate", "learning_rate_ref (N/N_ref)^-0.23 (D/D_ref)^-0.32"),
        ("kaplan", "learning_rate", "0.003239 -0.0001395 ln N"),
        ("mm1", "learning_rate", "exp(-0.5535 -0.4214 ln N)"),
        ("small-batch-beta2", "beta2", "beta2_ref^(B / B_ref)"),
    ],
)
def test_formulas_read_as_printed(name: str, quantity: str, text: str) -> None:
    assert law(name).formula(quantity).text() == text
