"""Calibration on cells whose laws are known: what it learns, what it holds, and what it makes of partial information."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.fit.calibrate import calibrate, published_prior
from forescale.fit.calibrate._belief import DEVIATION, design
from forescale.fit.calibrate._valley import OCTAVE, across, floor
from forescale.laws import law
from forescale.runs import Runs, read_runs
from forescale.workload import Workload

LANDSCAPE = law("step-law").landscape
TARGET = Workload(params=7e9, tokens=1.4e11, seq_len=2048, source="a test")
COLUMNS = ["params", "tokens", "learning_rate", "batch_tokens", "loss"]
CELLS = ((5e7, 1e9), (5e7, 4e9), (1e8, 2e9), (1e8, 8e9), (2e8, 4e9), (2e8, 1.6e10))


def optimum(params: float, tokens: float, rate: float = 1.0, slope: float = 0.0) -> tuple[float, float]:
    """Published Step Law's choice, the rate times a factor, its exponent of N moved by `slope` around 1e8."""
    step = law("step-law")
    best = step.predict("learning_rate", params=params, tokens=tokens) * rate * (params / 1e8) ** slope
    return best, step.predict("batch_tokens", params=params, tokens=tokens)


def sweep(
    cells=CELLS, *, rates=range(-3, 4), batches=range(-2, 3), noise=0.0, ending: float = math.inf, **planted
) -> pl.DataFrame:
    """Losses of the published landscape around planted optima, on a grid in octaves; runs beyond `ending` diverge."""
    rng, rows = np.random.default_rng(0), []
    for params, tokens in cells:
        best = optimum(params, tokens, **planted)
        for v in batches:
            for u in rates:
                gap = float(across(LANDSCAPE, np.array(u - LANDSCAPE.ridge * v)) + floor(LANDSCAPE, np.array(float(v))))
                loss = 3 * (1 + gap) * math.exp(noise * rng.normal()) if u < ending else math.inf
                rows.append((params, tokens, best[0] * 2.0**u, best[1] * 2.0**v, loss))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def runs(table: pl.DataFrame) -> Runs:
    return read_runs(table)


def known(table: pl.DataFrame, target: Workload = TARGET):
    return calibrate(runs(table), target=target, scored=False).after


def test_a_planted_law_is_found_between_the_cells() -> None:
    # Planted: Step Law's batch, twice its learning rate. Inside the sweep the estimate is within a tenth of an octave.
    middle = replace(TARGET, params=1e8, tokens=4e9)
    after = known(sweep(rate=2.0, noise=1e-3), middle)
    rate, batch = optimum(1e8, 4e9, rate=2.0)
    assert abs(math.log2(after.learning_rate.value / rate)) < 0.1
    assert abs(math.log2(after.batch_tokens.value / batch)) < 0.15


def test_exponents_move_when_the_data_say_so_and_hold_when_they_do_not() -> None:
    # Lingle's own exponent of N is 0.23 above Step Law's: with sizes 64 times apart the data say so.
    wide = tuple((n, r * n) for n in (2e7, 8e7, 3.2e8, 1.28e9) for r in (20, 80))
    prior = calibrate(None, target=TARGET).coefficients["learning_rate"]["params"].posterior[0]
    found = {
        slope: calibrate(runs(sweep(wide, slope=slope)), scored=False).coefficients["learning_rate"]["params"].posterior
        for slope in (-0.25, 0.25)
    }
    along = {s: f[0] for s, f in found.items()}
    assert along[0.25] - along[-0.25] > 0.3  # of 0.5 planted: the prior holds the rest
    one_size = calibrate(runs(sweep(((1e8, 2e9), (1e8, 8e9)))), scored=False)
    held = one_size.coefficients["learning_rate"]["params"]
    assert held.posterior[0] == pytest.approx(prior, abs=0.05)
    assert held.posterior[1] == pytest.approx(held.prior[1], rel=0.15)


def test_more_cells_know_more_and_the_prior_alone_least() -> None:
    gaps = [known(sweep(CELLS[:n], noise=1e-3)).loss_gap for n in (1, 3, 6)]
    before = calibrate(None, target=TARGET).before.loss_gap
    assert before > gaps[0] > gaps[1] > gaps[2]


def test_a_sweep_of_one_batch_knows_the_rate_at_that_batch() -> None:
    # Along the ridge: the batch lies an octave above the best one, and its best rate moves by the ridge.
    one = sweep(batches=(1,), noise=1e-3)
    found = calibrate(runs(one), target=replace(TARGET, params=1e8, tokens=4e9), scored=False)
    rate, batch = optimum(1e8, 4e9)
    at_batch = math.log2(found.after.learning_rate.value / rate) + LANDSCAPE.ridge * (
        1 - math.log2(found.after.batch_tokens.value / batch)
    )
    assert abs(at_batch - LANDSCAPE.ridge) < 0.25
    assert found.kinds == {"one batch": 6}
    assert found.after.batch_tokens.octaves > 0.6  # of the batch it says little
    assert any("the batch was swept in no cell" in warning for warning in found.warnings)


def test_learning_rate_and_batch_are_correlated_as_draws_from_the_belief_are() -> None:
    # A second method: a sweep at one batch ties the rate to the batch along the ridge; labs drawn from the belief show it.
    at = replace(TARGET, params=1e8, tokens=4e9)
    found = calibrate(runs(sweep(batches=(1,), noise=1e-3)), target=at, scored=False)
    labs = np.random.default_rng(0).multivariate_normal(found.belief.mean, found.belief.covariance, 20_000)
    own = np.random.default_rng(1).normal(size=(20_000, 2)) * DEVIATION  # of the cell, around its lab's laws
    drawn = labs @ design(at.params, at.tokens, at.active).T + own
    assert found.after.correlation == pytest.approx(np.corrcoef(drawn.T)[0, 1], abs=0.03)
    assert found.after.correlation > 0.5


def test_an_optimum_beyond_the_sweep_counts_as_there_or_beyond() -> None:
    cell = CELLS[2:3]
    below = calibrate(
        runs(sweep(cell, rates=range(-5, -1))), target=replace(TARGET, params=1e8, tokens=2e9), scored=False
    )
    true, _ = optimum(*cell[0])
    highest = true * 2.0**-2
    assert below.after.learning_rate.value > highest
    assert below.after.learning_rate.low < true < below.after.learning_rate.high
    assert any("lies on the edge" in warning for warning in below.warnings)


def test_diverged_runs_push_the_rate_down() -> None:
    cell = CELLS[2:3]
    at = replace(TARGET, params=1e8, tokens=2e9)
    lost = sweep(cell, rates=range(4), batches=(0,)).with_columns(loss=pl.lit(math.inf))
    trained = sweep(cell, rates=(-5,), batches=(0,))
    after = known(pl.concat([trained, lost]), at)
    before = calibrate(None, target=at).before
    assert after.learning_rate.value < before.learning_rate.value
    only = calibrate(runs(lost.with_columns(loss=pl.lit(1e9))), target=at, scored=False)
    assert only.kinds == {"diverged": 1}
    assert only.after.learning_rate.value < before.learning_rate.value
    assert only.widened == 1  # nothing trained, so nothing says where the best rate is instead
    assert any("diverged" in warning for warning in only.warnings)


def test_single_settings_count_as_good_guesses_and_all_of_them_as_one() -> None:
    guesses = [(p, t, *[x * 4 for x in optimum(p, t)][:1], optimum(p, t)[1], 3.0) for p, t in CELLS]
    found = calibrate(runs(pl.DataFrame(guesses, schema=COLUMNS, orient="row")), target=TARGET, scored=False)
    assert found.kinds == {"best known": 6}
    shift = math.log2(found.after.learning_rate.value / found.before.learning_rate.value)
    assert 0 < shift < 2  # towards the guesses, which lie above, but not all the way
    assert found.after.learning_rate.octaves > 0.5 * found.before.learning_rate.octaves


def test_a_contradiction_is_said_and_widens() -> None:
    # A batch given in sequences (2048 times too small) or a learning rate in per mille is what this looks like.
    far = sweep(rate=300.0, noise=1e-3).with_columns(pl.col("learning_rate").clip(upper_bound=0.99))
    found = calibrate(runs(far), target=TARGET, scored=False)
    assert found.widened > 2
    assert any("contradict the published prior" in warning for warning in found.warnings)
    agreeing = calibrate(runs(sweep(noise=1e-3)), target=TARGET, scored=False)
    assert agreeing.widened == 1
    assert not any("contradict" in warning for warning in agreeing.warnings)


def test_the_choice_is_cautious_and_the_interval_is_the_estimates() -> None:
    found = calibrate(runs(sweep(CELLS[:1])), target=TARGET, scored=False)
    formula = found.law.formula("learning_rate")
    assert formula.caution < 1
    choice = found.law.predict("learning_rate", params=TARGET.params, tokens=TARGET.tokens)
    assert choice == pytest.approx(found.after.learning_rate.value * formula.caution, rel=1e-9)
    sure = calibrate(runs(sweep(noise=1e-3)), target=replace(TARGET, params=1e8, tokens=4e9), scored=False)
    assert sure.law.formula("learning_rate").caution > formula.caution


def test_intervals_cover_what_was_planted() -> None:
    # Forty labs drawn from the prior itself; each shows three small cells. Of their optima at a model 16 times larger the
    # 80 % interval must hold 80 %: 32 of 40, binomial standard deviation 2.5.
    from forescale.fit._cells import Cell
    from forescale.fit.calibrate._belief import design, deviation, information, product
    from forescale.fit.calibrate._evidence import evidence

    rng, prior, inside = np.random.default_rng(1), published_prior(), 0
    spread = np.linalg.cholesky(prior.belief.covariance)
    for _ in range(40):
        theta = prior.mean + spread @ rng.normal(size=8)
        shown = []
        for params, tokens in CELLS[:3]:
            best = design(params, tokens, params) @ theta + np.linalg.cholesky(deviation()) @ rng.normal(size=2)
            grid = np.array([(u, v) for u in range(-4, 5) for v in range(-2, 3)], dtype=float)
            gap = across(LANDSCAPE, grid[:, 0] - LANDSCAPE.ridge * grid[:, 1]) + floor(LANDSCAPE, grid[:, 1])
            points = best + (grid + rng.uniform(-0.5, 0.5, 2)) * OCTAVE
            off = (points - best) / OCTAVE
            gap = across(LANDSCAPE, off[:, 0] - LANDSCAPE.ridge * off[:, 1]) + floor(LANDSCAPE, off[:, 1])
            cell = Cell(
                params=params,
                active_params=params,
                tokens=tokens,
                seq_len=2048,
                points=points,
                log_loss=np.log1p(gap) + 0.0015 * rng.normal(size=len(gap)),
            )
            shown.append(evidence(cell, LANDSCAPE))
        belief = product(prior.belief, information(prior.belief, shown))
        X = design(3.2e9, 6.4e10, 3.2e9)
        truth = X @ theta + np.linalg.cholesky(deviation()) @ rng.normal(size=2)
        mean, covariance = belief.at(X)
        inside += abs(truth[0] - mean[0]) <= 1.2816 * math.sqrt((covariance + deviation())[0, 0])
    assert 26 <= inside <= 38


def test_cells_left_out_show_that_shuffled_losses_teach_nothing() -> None:
    table = sweep(noise=1e-3)
    shuffled = table.with_columns(loss=pl.col("loss").shuffle(seed=3))
    gaps = [calibrate(runs(t), target=TARGET).held_out[0].linear.mean for t in (table, shuffled)]
    assert gaps[0] < 0.002  # the planted optimum has gap 0; the noise of the lowest run is taken for one
    assert gaps[1] > 0.01


def test_neither_runs_nor_a_target_is_refused() -> None:
    with pytest.raises(ForescaleError, match="needs runs or a target"):
        calibrate(None)


def test_a_lab_that_is_not_there_is_refused() -> None:
    with pytest.raises(ForescaleError, match="no lab 'Nobody'"):
        calibrate(None, target=TARGET, without=("Nobody",))
