from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forescale.laws import law
from forescale.laws._families import FAMILIES

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import derive_constants
import loss_fits
import step_law_fits
import transfer


@pytest.fixture(scope="module")
def epoch(data: Path) -> loss_fits.Fit:
    return loss_fits.epoch(data)


def test_the_catalog_holds_what_the_data_give(data: Path) -> None:
    assert list(derive_constants.mismatches(list(derive_constants.derived(data)))) == []


def test_a_changed_constant_is_noticed() -> None:
    found = law("step-law").formula("learning_rate").covariance
    value = [list(row) for row in found]
    item = derive_constants.Derived(law="step-law", table="predicts.learning_rate", key="covariance", value=value)
    assert list(derive_constants.mismatches([item])) == []
    value[0][1] *= 1.001
    assert len(list(derive_constants.mismatches([item]))) == 1


def test_the_mean_of_the_authors_fits_is_the_printed_law(data: Path) -> None:
    # facts/hp-laws.md section 0, row 1; 95 % intervals of the exponents from 1.1: sd = width / 3.92.
    lr, batch = step_law_fits.bootstrap_covariances(data)
    widths = [0.774 - 0.655, 0.345 - 0.271, 0.606 - 0.534]
    sds = [*np.sqrt(np.diag(lr))[1:], np.sqrt(batch[1, 1])]
    assert sds == pytest.approx([w / 3.92 for w in widths], rel=0.06)


def test_released_cells_repeat_the_slices_of_all_seventeen(data: Path) -> None:
    # facts/hp-laws.md 2.4, from 17 cells; 13 of them are here. Medians move by up to a third of a small gap.
    group = step_law_fits.cells(data, "dense")
    assert len(group) == 13
    ground = law("step-law").landscape
    assert ground is not None
    for mine, theirs in zip(step_law_fits.slices(group), (ground.learning_rate, ground.batch_tokens), strict=True):
        known = dict(zip(theirs.octaves, theirs.loss_gap, strict=True))
        for octave in (-2, -1, 1, 2):
            assert mine[octave] == pytest.approx(100 * known[octave], rel=0.15)


def test_refits_lie_near_those_of_all_cells() -> None:
    # facts/hp-laws.md 2.3: exponents fitted on 17 dense (and 16 expert) cells, against ours on 13 (and 8).
    table = {
        ("steplaw-refit", "learning_rate"): [-0.766, 0.197],
        ("steplaw-refit", "batch_tokens"): [-0.266, 0.623],
        ("step-law-pooled", "learning_rate"): [-0.697, 0.220, 0.023],
        ("step-law-pooled", "batch_tokens"): [-0.289, 0.539, -0.252],
    }
    for (name, quantity), exponents in table.items():
        formula = law(name).formula(quantity)
        sd = np.sqrt(np.diag(formula.covariance))[1:]
        assert (np.abs(np.array(list(formula.exponents.values())) - exponents) < sd).all()


def test_lingle_fit() -> None:
    # facts/hp-laws.md 2.5: lr = 0.0628 N^-0.477 D^0.262, B = 0.365 N^0.050 D^0.574.
    fits = transfer.lingle_fit()
    assert fits["learning_rate"][0] == pytest.approx([np.log(0.0628), -0.477, 0.262], abs=1e-3)
    assert fits["batch_tokens"][0] == pytest.approx([np.log(0.365), 0.050, 0.574], abs=1e-3)


def test_transfer_to_another_lab() -> None:
    # facts/hp-laws.md 2.5: octaves rms and geometric mean of predicted over observed.
    table = {
        ("step-law", "learning_rate"): (0.70, 0.71),
        ("step-law", "batch_tokens"): (0.91, 0.56),
        ("deepseek", "learning_rate"): (1.27, 1.86),
        ("deepseek", "batch_tokens"): (1.47, 2.4),
        ("porian", "learning_rate"): (1.80, 3.4),
        ("porian", "batch_tokens"): (3.44, 8.4),
        ("kaplan", "learning_rate"): (1.17, 0.48),
        ("minicpm", "batch_tokens"): (2.79, 6.8),
        ("power-lines", "batch_tokens"): (0.71, 1.5),
        ("zhou-2026", "learning_rate"): (1.32, 0.52),
    }
    got = {(j.name, q): (octaves, bias) for j, q, octaves, bias, _ in transfer.hyperparameter_transfer()}
    for key, (octaves, bias) in table.items():
        assert got[key][0] == pytest.approx(octaves, abs=0.006)
        assert got[key][1] == pytest.approx(bias, rel=0.02)


def test_our_refit_of_chinchilla_agrees_with_epochs(data: Path, epoch: loss_fits.Fit) -> None:
    # facts/hp-laws.md 4: Epoch's constants and standard errors.
    N, D, L = loss_fits.chinchilla_runs(data)
    assert len(L) == 240
    values, errors = (1.8172, 482.01, 2085.43, 0.3478, 0.3658), (0.03, 124.58, 1293.23, 0.02, 0.02)
    for mine, value, error in zip(epoch.constants.values(), values, errors, strict=True):
        assert abs(mine - value) < error
    sd = np.sqrt(np.diag(epoch.covariance))
    assert sd[[0, 3, 4]] == pytest.approx([0.03, 0.02, 0.02], rel=0.35)  # printed to one digit
    found = law("epoch").range
    assert found["params"] == pytest.approx((N.min(), N.max()), rel=0.005)
    assert found["tokens"] == pytest.approx((D.min(), D.max()), rel=0.005)


def test_delta_method_agrees_with_the_bootstrap_of_a_loss_law(epoch: loss_fits.Fit) -> None:
    formula = law("epoch").formula("loss")
    for N, D in ((1e8, 2e9), (1e10, 2e11), (7e10, 1.4e12), (1e9, 1e12)):
        spread = _log_loss(epoch, N, D).std()
        assert formula.log_sd({"params": N, "tokens": D}) == pytest.approx(spread, rel=0.06)
    # In the middle of the runs the loss is known to 0.06 %; there the linear terms cancel, and the delta method says
    # 0.10 %: too wide rather than too narrow.
    spread = _log_loss(epoch, 1e9, 2e10).std()
    assert spread < (formula.log_sd({"params": 1e9, "tokens": 2e10}) or 0.0) < 2 * spread


def _log_loss(fit: loss_fits.Fit, N: float, D: float) -> np.ndarray:
    return np.log(FAMILIES["additive"].evaluate(fit.draws, {}, {"params": N, "tokens": D}))


def test_zhang_units_agree_with_the_authors_table(data: Path) -> None:
    # The definition of arXiv 2410.21676: the batch that needs 20 % more tokens than 256 sequences, on steps = a + b / B.
    table = pl.read_csv(data / "critical-batch-size" / "steps_to_goal.csv")
    for size, N in (("85M", 85e6), ("151M-ablation", 151e6), ("302M", 302e6), ("604M", 604e6), ("1.2B", 1.2e9)):
        runs = table.filter(model_size=size)
        B = runs["batch_size_sequences"].to_numpy()
        steps = runs["tokens_to_goal"].to_numpy() / (512 * B)
        design = np.stack([np.ones_like(steps), 1 / B], axis=1)
        a, b = np.linalg.lstsq(design / steps[:, None], np.ones_like(steps))[0]
        critical = (1.2 * (256 * a + b) - b) / a
        assert law("zhang-cbs").predict("critical_batch_tokens", params=N) == pytest.approx(512 * critical, rel=0.05)
