"""What a fit is judged by: against the planted law, the scores of `score`, and published exponents."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fit_sweeps import COLUMNS, optimum, planted

from forescale.fit import Evidence, FittedLaw, evidence, fit_law, make_cells, score
from forescale.fit.loss import fit_loss_law, loss_evidence
from forescale.laws import Z80, law
from forescale.runs import Runs, read_runs


@pytest.fixture(scope="module")
def runs() -> Runs:
    extra = [(1.6e9, 3e10, lr, 5e5, loss) for lr, loss in ((5e-4, 2.61), (1e-3, 2.6))]
    lost = [(3e9, 6e10, 0.5, 5e5, math.inf), (3e9, 6e10, 0.6, 5e5, math.inf)]
    return read_runs(pl.concat([planted((1e8, 2e8, 4e8)), pl.DataFrame(extra + lost, schema=COLUMNS, orient="row")]))


@pytest.fixture(scope="module")
def fitted(runs: Runs) -> FittedLaw:
    return fit_law(runs, bootstraps=50)


@pytest.fixture(scope="module")
def shown(runs: Runs, fitted: FittedLaw) -> Evidence:
    return evidence(runs, fitted)


def test_optima_and_plateaus_are_those_of_the_planted_bowl(shown: Evidence) -> None:
    for cell in shown.cells:
        best = optimum(cell.cell.params, cell.cell.tokens)
        assert cell.optimum == pytest.approx(best, rel=0.06)  # a mesh of 81 points over 4 and 6 octaves
        # ln gap = 0.003 u² + 0.003 v² - 0.002 u v: with v free, gap <= g for |u| <= sqrt(g / (0.003 - 0.002² / 4 / 0.003)).
        reach = math.sqrt(math.log1p(0.0025) / (0.003 - 0.002**2 / 0.012))
        for (low, high), middle in zip(cell.plateau, best, strict=True):
            assert math.log2(high / middle) == pytest.approx(reach, abs=0.12)
            assert math.log2(middle / low) == pytest.approx(reach, abs=0.12)


def test_octaves_count_doublings_of_the_optimum(shown: Evidence) -> None:
    cell = shown.cells[0]
    assert cell.octaves("learning_rate", cell.choice) == math.log2(cell.choice.learning_rate / cell.optimum[0])
    assert cell.octaves("batch_tokens", cell.choice) == math.log2(cell.choice.batch_tokens / cell.optimum[1])


def test_choices_are_the_laws_and_those_of_the_laws_fitted_without_the_cell(shown: Evidence, fitted: FittedLaw) -> None:
    held_out = {(g.params, g.tokens): g for s in fitted.held_out if s.name == fitted.chosen for g in s.gaps}
    for cell in shown.cells:
        at = {"params": cell.cell.params, "tokens": cell.cell.tokens}
        assert cell.choice.learning_rate == pytest.approx(fitted.law.predict("learning_rate", **at), rel=1e-12)
        assert cell.held_out is held_out[at["params"], at["tokens"]]


def test_what_was_left_out_is_counted_with_its_reason(shown: Evidence, runs: Runs) -> None:
    assert sum(c.runs for c in shown.coverage) == runs.frame.height
    assert sum(c.diverged for c in shown.coverage) == runs.diverged == 2
    assert [c.left_out for c in shown.coverage if c.left_out] == [
        "learning rate and batch were not both swept",
        "every run diverged",
    ]
    assert [c.settings for c in shown.coverage] == [63] * 6 + [2, 0]


def test_published_scores_are_those_of_score(data) -> None:
    sweep = read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048)
    shown = evidence(sweep, fit_law(sweep, bootstraps=50))
    scored = {each.name: each for each in score(sweep).laws}
    assert {"step-law", "deepseek", "porian", "lingle"} <= {each.name for each in shown.published}
    assert all(not each.given for each in shown.published)
    for each in shown.published:
        assert each.gaps == scored[each.name].gaps
    assert [bool(each.fitted_on) for each in shown.published] == [False] * 4 + [True] * 2


def test_a_law_is_read_with_its_own_intervals(shown: Evidence) -> None:
    (reading,) = (r for r in shown.readings if r.name == "step-law" and r.quantity == "learning_rate")
    formula = law("step-law").predicts["learning_rate"]
    i = formula.covariance_of.index("params")
    half = Z80 * math.sqrt(formula.covariance[i][i])
    slope = reading.slopes["params"]
    assert (slope.low, slope.high) == pytest.approx((slope.value - half, slope.value + half))
    sd = formula.log_sd({"params": shown.middle.params, "tokens": shown.middle.tokens})
    assert math.log(reading.value.high / reading.value.value) == pytest.approx(Z80 * sd)


def test_dense_runs_are_not_read_by_laws_of_experts(shown: Evidence) -> None:
    assert "ling-moe" not in {r.name for r in shown.readings} | {s.name for s in shown.published}


def test_terrain_ends_at_the_runs() -> None:
    (cell,) = make_cells(read_runs(planted((1e8,), (20.0,)))).cells
    whole = cell.terrain()
    assert np.isfinite(whole.loss_gap).all()
    assert whole.within(-1.0) is None
    kept = cell.points.sum(1).argsort()[:-3]  # without the corner of high rates and batches
    cut = replace(cell, points=cell.points[kept], log_loss=cell.log_loss[kept]).terrain()
    assert np.isnan(cut.loss_gap[-1, -1])
    assert np.isfinite(cut.loss_gap[0, 0])


def test_the_hash_of_a_loss_fit_does_not_depend_on_the_order_of_the_runs() -> None:
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(8, 10, 30), 10 ** rng.uniform(9, 11, 30)
    columns = {"params": N, "tokens": D, "loss": 1.7 + 400 / N**0.34 + 400 / D**0.28}
    turned = {name: values[::-1] for name, values in columns.items()}
    changed = {**columns, "loss": columns["loss"] * 1.001}
    hashes = [loss_evidence(c, fit_loss_law(c, "chinchilla", bootstraps=2)).sha256 for c in (columns, turned, changed)]
    assert hashes[0] == hashes[1] != hashes[2]
