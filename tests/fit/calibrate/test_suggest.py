"""Which runs next: within the budget, worth their FLOPs, and worth what is said."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from test_calibrate_planted import CELLS, TARGET, optimum, sweep

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Suggestion, calibrate, suggest
from forescale.runs import read_runs

BUDGET = 0.01 * TARGET.compute


@pytest.fixture(scope="module")
def suggested() -> Suggestion:
    return suggest(TARGET, BUDGET)


def test_it_stays_in_the_budget_and_below_the_target(suggested: Suggestion) -> None:
    assert 0 < suggested.compute <= BUDGET
    assert suggested.compute == pytest.approx(sum(6 * r.params * r.tokens for r in suggested.runs))
    for run in suggested.runs:
        assert run.params <= TARGET.params / 2
        assert run.tokens / run.batch_tokens >= 200
        assert run.batch_tokens % 2048 == 0


def test_each_cell_helps_and_the_last_gap_is_what_is_promised(suggested: Suggestion) -> None:
    gaps = [suggested.before.loss_gap, *(cell.loss_gap for cell in suggested.cells)]
    assert all(a > b for a, b in pairwise(gaps))
    assert gaps[-1] == pytest.approx(suggested.after.loss_gap)
    assert suggested.after.learning_rate.octaves < suggested.before.learning_rate.octaves


def test_a_larger_budget_buys_more() -> None:
    after = [suggest(TARGET, share * TARGET.compute).after.loss_gap for share in (0.001, 0.01, 0.05)]
    assert after[0] > after[1] > after[2]


def test_what_it_promises_is_what_the_runs_then_teach(suggested: Suggestion, tmp_path: Path) -> None:
    # Second method: make the suggested runs, with losses of a planted law, and calibrate on them. What is then known
    # must agree with the promise, which was made before any of them (within a third: the promise is an average).
    import numpy as np
    from test_calibrate_planted import LANDSCAPE

    from forescale.fit.calibrate._valley import across, floor

    rng, rows = np.random.default_rng(0), []
    for run in suggested.runs:
        best = optimum(run.params, run.tokens)
        u, v = math.log2(run.learning_rate / best[0]), math.log2(run.batch_tokens / best[1])
        gap = float(across(LANDSCAPE, np.array(u - LANDSCAPE.ridge * v)) + floor(LANDSCAPE, np.array(v)))
        loss = 3 * (1 + gap) * math.exp(0.0015 * rng.normal())
        rows.append((run.params, run.tokens, run.learning_rate, run.batch_tokens, loss))
    path = tmp_path / "runs.csv"
    pl.DataFrame(rows, schema=["params", "tokens", "learning_rate", "batch_tokens", "loss"], orient="row").write_csv(
        path
    )
    after = calibrate(read_runs(path), target=TARGET, scored=False).after
    # the promise also allows for laws that bend between proxy and target, which calibration does not
    assert 0.5 < after.learning_rate.octaves / suggested.after.learning_rate.octaves < 1.33


def test_runs_that_are_there_are_not_suggested_again(suggested: Suggestion) -> None:
    had = read_runs(sweep(CELLS, noise=1e-3))
    further = suggest(TARGET, BUDGET, runs=had)
    assert further.before.loss_gap < suggested.before.loss_gap
    assert further.after.loss_gap <= suggested.after.loss_gap * 1.05


def test_experts_keep_their_share() -> None:
    target = replace(TARGET, params=7e10, active_params=7e9)
    found = suggest(target, 0.01 * target.compute)
    assert all(run.active_params / run.params == pytest.approx(0.1) for run in found.runs)


@pytest.mark.parametrize(("budget", "words"), [(1e10, "buys no sweep"), (-1.0, "above zero"), (math.nan, "finite")])
def test_a_budget_that_buys_nothing_is_refused(budget: float, words: str) -> None:
    with pytest.raises(ForescaleError, match=words):
        suggest(TARGET, budget)


def test_runs_dearer_than_the_target_are_said() -> None:
    small = replace(TARGET, params=1e9, tokens=2e10)
    assert any("times the target's own compute" in note for note in suggest(small, 1e30).notes)
