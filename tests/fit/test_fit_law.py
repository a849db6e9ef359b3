"""Laws fitted to the released sweeps: a second route to every number, and the published ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forescale.fit import FittedLaw, Score, fit_law
from forescale.fit._protocols import TITLES
from forescale.laws import law, save_law
from forescale.runs import Runs, read_runs

DENSE = "step-law/dense_lr_bs_loss.csv"
MOE = "step-law/moe_lr_bs_loss.csv"
BOOTSTRAPS = "step-law/1004_fitted_lr_bs_scaling_model_parameters.csv"


@pytest.fixture(scope="module")
def dense(data: Path) -> Runs:
    return read_runs(data / DENSE, seq_len=2048)


@pytest.fixture(scope="module")
def both(data: Path, dense: Runs) -> Runs:
    columns = ["params", "active_params", "tokens", "learning_rate", "batch_tokens", "loss"]
    return read_runs(pl.concat([dense.frame.select(columns), read_runs(data / MOE).frame.select(columns)]))


@pytest.fixture(scope="module")
def fitted(dense: Runs) -> FittedLaw:
    return fit_law(dense)


@pytest.fixture(scope="module")
def near_rows(data: Path) -> np.ndarray:
    """ln (N, D, lr, batch) of the authors' near-optimal runs and the number of their cell, straight from the file."""
    table = pl.read_csv(data / DENSE).with_columns(
        gap=pl.col("smooth loss") / pl.col("smooth loss").min().over("N", "D")
    )
    table = table.filter(pl.col("gap") < 1.0025).with_columns(cell=pl.struct("N", "D").rank("dense"))
    logs = table.select(*(pl.col(c).cast(pl.Float64).log() for c in ("N", "D", "lr")), (2048.0 * pl.col("bs")).log())
    return np.column_stack([logs.to_numpy(), table["cell"].to_numpy()])


def lstsq(rows: np.ndarray, inputs: tuple[int, ...], target: int) -> np.ndarray:
    return np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows[:, inputs]]), rows[:, target])[0]


def values(fit: FittedLaw, quantity: str) -> list[float]:
    return [c.value for c in fit.coefficients[quantity].values()]


def means(score: Score) -> list[float]:
    return [100 * getattr(score, reading).mean for reading in ("nearest", "linear", "smooth")]


def test_step_laws_protocol(dense: Runs, near_rows: np.ndarray) -> None:
    fit = fit_law(dense, protocol="step-law", over="points")
    assert len(near_rows) == 101  # shared/protocols/score_laws.py on the same file
    assert (fit.protocol, fit.batch_inputs) == ("step-law", ("tokens",))
    assert values(fit, "learning_rate") == pytest.approx(lstsq(near_rows, (0, 1), 2), rel=1e-9)
    assert values(fit, "batch_tokens") == pytest.approx(lstsq(near_rows, (1,), 3), rel=1e-9)
    # The script prints lr = 80.8 N^-0.766 D^+0.195 and B = 0.05298 D^+0.670.
    formulas = fit.law.predicts
    assert formulas["learning_rate"].text() == "80.8 N^-0.7656 D^+0.1949"
    assert formulas["batch_tokens"].text() == "0.05298 D^+0.6705"


def test_the_bootstrap_over_points_is_the_scripts(dense: Runs) -> None:
    # The script's means and 95 % intervals (its own seed): alpha -0.765 [-0.893, -0.635], beta 0.195 [0.101, 0.287],
    # gamma 0.669 [0.576, 0.755]; an interval's width is 3.92 standard errors.
    fit = fit_law(dense, protocol="step-law", over="points", bootstraps=1000)
    lr, batch = fit.coefficients["learning_rate"], fit.coefficients["batch_tokens"]
    found = [lr["params"], lr["tokens"], batch["tokens"]]
    assert [c.mean for c in found] == pytest.approx([-0.765, 0.195, 0.669], abs=0.01)
    assert [3.92 * c.stderr for c in found] == pytest.approx([0.258, 0.186, 0.179], rel=0.08)
    assert all(c.low < c.value < c.high for c in found)


def test_reading_the_authors_own_bootstraps(data: Path) -> None:
    # facts/hp-laws.md 2.3: exp of the mean intercepts and the mean exponents are the published constants.
    table = pl.read_csv(data / BOOTSTRAPS).mean()
    published = law("step-law").predicts
    assert np.exp(table["lr_intercept"][0]) == pytest.approx(
        published["learning_rate"].constants["coefficient"], rel=0.01
    )
    assert np.exp(table["bs_intercept"][0]) == pytest.approx(
        published["batch_tokens"].constants["coefficient"], rel=0.01
    )
    assert table["lr_coefN"][0] == pytest.approx(-0.713, abs=5e-4)
    assert table["lr_coefD"][0] == pytest.approx(0.307, abs=6e-4)
    assert table["bs_coefD"][0] == pytest.approx(0.571, abs=5e-4)


def test_cells_share_noise_so_their_bootstrap_is_wider(dense: Runs) -> None:
    cells, points = (fit_law(dense, protocol="step-law", over=over) for over in ("cells", "points"))
    for quantity in ("learning_rate", "batch_tokens"):
        for name, coefficient in cells.coefficients[quantity].items():
            assert coefficient.stderr > points.coefficients[quantity][name].stderr


def test_the_bootstrap_over_cells_resamples_whole_cells(fitted: FittedLaw, near_rows: np.ndarray) -> None:
    # A second route: the rows of drawn cells, least squares one draw at a time, another generator.
    rng = np.random.default_rng(11)
    groups = [near_rows[near_rows[:, 4] == cell] for cell in np.unique(near_rows[:, 4])]
    draws = [lstsq(np.concatenate([groups[i] for i in rng.integers(0, 13, 13)]), (0, 1), 3) for _ in range(1000)]
    found = list(fitted.coefficients["batch_tokens"].values())
    assert [c.stderr for c in found] == pytest.approx(np.std(draws, axis=0), rel=0.15)
    covariance = np.array(fitted.law.predicts["batch_tokens"].covariance)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([c.stderr for c in found], rel=1e-9)


# shared/protocols/score_laws.py on the 13 dense cells, section 4: leave one cell out, means of three readings.
HELD_OUT = {
    "step-law, B ~ D": (0.101, 0.110, 0.068),
    "step-law, B ~ N, D": (0.067, 0.085, 0.050),
    "centroid, B ~ D": (0.101, 0.115, 0.072),
    "argmin, B ~ D": (0.172, 0.150, 0.103),
    "argmin, B ~ N, D": (0.120, 0.119, 0.079),
    "vertex, B ~ D": (0.131, 0.158, 0.119),
    "vertex, B ~ N, D": (0.117, 0.144, 0.098),
    "near-0.5, B ~ D": (0.119, 0.128, 0.095),
    "near-0.5, B ~ N, D": (0.106, 0.118, 0.085),
    "bowl, B ~ N, D": (0.082, 0.097, 0.069),
}


def test_the_held_out_table_is_the_scripts(fitted: FittedLaw) -> None:
    found = {score.name: score for score in fitted.held_out}
    for name, expected in HELD_OUT.items():
        # A vertex may see another run or two: its window is a share here, a difference of logarithms there.
        assert means(found[name]) == pytest.approx(expected, abs=4e-3 if name.startswith("vertex") else 1e-3)
        assert len(found[name].gaps) == 13
    assert {name.partition(",")[0] for name in found} == set(TITLES)


def test_the_references_are_those_of_score(fitted: FittedLaw) -> None:
    published, constant = fitted.references
    assert means(published) == pytest.approx((0.111, 0.122, 0.092), abs=1e-3)  # the issue of scoring
    assert means(constant) == pytest.approx((0.260, 0.260, 0.266), abs=1e-3)


def test_the_choice_is_the_lowest_linear_gap_and_is_itself_held_out(fitted: FittedLaw) -> None:
    linear = [score.linear.mean for score in fitted.held_out]
    assert linear == sorted(linear)
    assert fitted.chosen_because.startswith(f"{fitted.held_out[0].name} (")
    assert (fitted.protocol, fitted.batch_inputs) == ("step-law", ("params", "tokens"))
    assert fitted.choice is not None
    assert linear[0] < fitted.choice.linear.mean < fitted.references[0].linear.mean


def test_dense_and_experts_in_one_law(both: Runs) -> None:
    # facts/hp-laws.md 2.3 had this on 33 cells; on these 21 the catalog's constants come from another route
    # (tools/derive_constants.py, until the two were merged: weighted rows through numpy's lstsq).
    fit = fit_law(both, protocol="centroid", batch_inputs=("params", "tokens"))
    catalog = law("step-law-pooled").predicts
    for quantity, formula in fit.law.predicts.items():
        assert formula.exponents == pytest.approx(catalog[quantity].exponents, rel=1e-5)
        assert formula.constants == pytest.approx(catalog[quantity].constants, rel=1e-5)
    assert fit.law.experts == "any"
    assert fit.law.range["active_share"][1] == 1
    assert "active_share" not in fit_law(both, active_share=False).law.predicts["learning_rate"].exponents


def test_the_law_is_read_back_exactly(fitted: FittedLaw, tmp_path: Path) -> None:
    path = tmp_path / "law.toml"
    save_law(fitted.law, path)
    assert replace(law(path), origin="catalog") == fitted.law
    assert "sha256" in fitted.law.fitted_on
    assert fitted.law.landscape is not None


def test_the_hash_ignores_order_and_other_columns(dense: Runs, fitted: FittedLaw) -> None:
    shuffled = read_runs(dense.frame.drop("cell", "diverged").sample(fraction=1.0, shuffle=True, seed=4))
    assert fit_law(shuffled, protocol="argmin").law.source.reference == fitted.law.source.reference
