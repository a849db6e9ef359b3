"""The critical batch from runs to one loss: the published table, worlds with a known answer, data that cannot tell."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import curve_fit

from forescale.errors import ForescaleError
from forescale.laws import law, save_law
from forescale.noise.critical import CriticalBatch, Point, critical_batch, fit_curves, fit_hyperbola, points_at
from forescale.runs import read_runs

NEEDS = ("tokens", "batch_tokens", "loss")
SIZES = {"85M": 85e6, "151M-ablation": 151e6, "302M": 302e6, "604M": 604e6, "1.2B": 1.2e9}
TOOL = Path(__file__).parents[3] / "tools" / "critical_batch.py"
BATCHES = [2.0**i for i in range(16, 25)]


def zhang(data: Path) -> pl.DataFrame:
    """Zhang et al.'s steps to a goal loss: the tokens that each batch needed."""
    table = pl.read_csv(data / "critical-batch-size" / "steps_to_goal.csv")
    return table.select(
        params=pl.col("model_size").replace_strict(SIZES),
        tokens="tokens_to_goal",
        batch_tokens=pl.col("batch_size_sequences") * 512,
        loss="goal_c4_val_loss",
    )


@pytest.fixture(scope="module")
def zhang_found(data: Path) -> CriticalBatch:
    return critical_batch(read_runs(zhang(data), needs=NEEDS))


def test_zhangs_table_gives_the_catalogs_law(zhang_found: CriticalBatch) -> None:
    assert zhang_found.law is not None
    ours, catalog = (each.formula("critical_batch_tokens") for each in (zhang_found.law, law("zhang-refit")))
    assert ours.constants["coefficient"] == pytest.approx(catalog.constants["coefficient"], rel=1e-5)
    assert ours.exponents["tokens"] == pytest.approx(catalog.exponents["tokens"], abs=1e-6)
    assert np.array(ours.covariance) == pytest.approx(np.array(catalog.covariance), rel=1e-5)


def test_zhangs_optima_are_those_of_the_tool(data: Path, zhang_found: CriticalBatch) -> None:
    expected = np.exp(runpy.run_path(str(TOOL))["optima"](data))
    found = [(h.min_tokens, h.critical_batch) for h in zhang_found.hyperbolas]
    assert np.array(found) == pytest.approx(expected, rel=1e-9)
    for hyperbola in zhang_found.hyperbolas:
        assert hyperbola.known
        assert hyperbola.high is not None
        assert hyperbola.low < (hyperbola.critical_batch or 0) < hyperbola.high


def test_a_second_method_finds_the_same(zhang_found: CriticalBatch) -> None:
    for h in zhang_found.hyperbolas:
        batches = np.array([point.batch_tokens for point in h.points])
        tokens = np.array([point.tokens for point in h.points])

        def curve(b: np.ndarray, log_min: float, log_critical: float) -> np.ndarray:
            return log_min + np.log1p(b / np.exp(log_critical))

        (_, log_critical), _ = curve_fit(curve, batches, np.log(tokens), p0=(math.log(tokens.min()), math.log(1e6)))
        assert h.critical_batch == pytest.approx(math.exp(log_critical), rel=0.06)


def test_at_the_critical_batch_tokens_and_steps_are_twice_their_least() -> None:
    points = [Point(batch_tokens=b, tokens=1e9 * (1 + b / 1e6)) for b in BATCHES]
    found = fit_hyperbola(points, loss=3.0)
    assert found.critical_batch == pytest.approx(1e6)
    assert found.min_tokens == pytest.approx(1e9)
    assert found.tokens_at(1e6) == pytest.approx(2e9)
    assert found.tokens_at(1e6) / 1e6 == pytest.approx(2 * found.min_steps)
    assert (found.low, found.high) == pytest.approx((1e6, 1e6), rel=1e-6)


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_interval_covers_what_it_says(noise: float) -> None:
    rng = np.random.default_rng(1)
    hits, draws = 0, 400
    for _ in range(draws):
        points = [Point(batch_tokens=b, tokens=1e9 * (1 + b / 1e6) * (1 + noise * rng.normal())) for b in BATCHES]
        found = fit_hyperbola(points, loss=3.0)
        hits += found.low <= 1e6 <= (math.inf if found.high is None else found.high)
    # 80 % nominal; 400 draws have a standard deviation of 2 %, and weights from noisy steps cost a little.
    assert 0.72 <= hits / draws <= 0.88


def test_batches_that_are_all_small_bound_it_from_below_only() -> None:
    rng = np.random.default_rng(3)
    points = [Point(batch_tokens=b, tokens=1e9 * (1 + b / 1e8) * (1 + 0.03 * rng.normal())) for b in BATCHES[:5]]
    found = fit_hyperbola(points, loss=3.0)
    assert found.high is None
    assert not found.known
    assert 0 < found.low < 1e8
    assert "bounded from below only" in found.note


def test_batches_below_the_best_are_said() -> None:
    # A planted fault: the two smallest batches are tuned badly and need more tokens.
    worse = {BATCHES[0]: 1.6, BATCHES[1]: 1.3}
    points = [Point(batch_tokens=b, tokens=1e9 * (1 + b / 1e6) * worse.get(b, 1)) for b in BATCHES]
    found = fit_hyperbola(points, loss=3.0)
    assert "no hyperbola holds there" in found.note
    assert not found.known
    assert fit_hyperbola(points[2:], loss=3.0).critical_batch == pytest.approx(1e6)


def world(critical: float = 5.0, exponent: float = 0.6, noise: float = 0.0) -> pl.DataFrame:
    """Runs whose loss is E + K D_min^-0.3, where D = D_min (1 + B / B_crit) and B_crit = critical D_min^exponent."""
    rng = np.random.default_rng(0)
    rows = []
    for params, K in ((1e8, 1200.0), (4e8, 1000.0)):
        for least in np.geomspace(1e9, 1.6e10, 6):
            for batch in (2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6):
                tokens = least * (1 + batch / (critical * least**exponent))
                loss = 1.7 + K * least**-0.3
                rows.append((params, tokens, batch, loss * (1 + noise * rng.normal())))
    return pl.DataFrame(rows, schema=["params", "tokens", "batch_tokens", "loss"], orient="row")


def test_loss_curves_of_each_batch_give_the_planted_law() -> None:
    found = critical_batch(read_runs(world(), needs=NEEDS))
    assert len(found.hyperbolas) == 6  # two sizes, three losses each
    for h in found.hyperbolas:
        assert h.critical_batch == pytest.approx(5.0 * h.min_tokens**0.6, rel=0.01)
    assert found.law is not None
    assert found.law.formula("critical_batch_tokens").exponents["tokens"] == pytest.approx(0.6, abs=0.01)


def test_power_laws_of_each_batch_would_be_biased() -> None:
    # The published form on the same exact runs: what the parabola is for.
    size = world().filter(pl.col("params") == 1e8)
    cells = {b: list(part.select("tokens", "loss").iter_rows()) for (b,), part in size.group_by("batch_tokens")}
    curves, target = fit_curves(cells), 1.7 + 1200 * 4e9**-0.3
    E = curves[0].E
    points = []
    for batch, runs in cells.items():
        slope, level = np.polyfit(np.log([t for t, _ in runs]), np.log([loss - E for _, loss in runs]), 1)
        points.append(Point(batch_tokens=batch, tokens=math.exp((math.log(target - E) - level) / slope)))
    biased = fit_hyperbola(points, loss=target)
    assert 0.9 < (biased.critical_batch or 0) / (5.0 * 4e9**0.6) < 0.97
    exact = fit_hyperbola(points_at(curves, target), loss=target)
    assert exact.critical_batch == pytest.approx(5.0 * 4e9**0.6, rel=0.01)


@pytest.mark.parametrize(("noise", "lengths"), [(5e-4, 3), (2e-3, 6)])
def test_the_interval_from_loss_curves_covers_what_it_says(noise: float, lengths: int) -> None:
    true, hits, draws = 5.0 * 4e9**0.6, 0, 60
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        cells = {
            batch: [
                (d * (1 + batch / (5.0 * d**0.6)), (1.7 + 1000 * d**-0.3) * (1 + noise * rng.normal()))
                for d in np.geomspace(1e9, 1.6e10, lengths)
            ]
            for batch in (2.5e5, 5e5, 1e6, 2e6, 4e6, 8e6)
        }
        found = fit_hyperbola(points_at(fit_curves(cells), 1.7 + 1000 * 4e9**-0.3), loss=3.0)
        hits += found.low <= true <= (found.high or math.inf)
    assert 0.68 <= hits / draws <= 0.95  # 80 % nominal; 60 draws have a standard deviation of 5 %


def test_a_target_is_read_where_it_was_asked_for() -> None:
    found = critical_batch(read_runs(world(), needs=NEEDS), targets=(3.6,))
    assert {h.loss for h in found.hyperbolas} == {3.6}
    assert found.law is None
    assert "a law needs 3" in found.notes[-1]


def test_one_curve_is_its_own_power_law() -> None:
    cells = {b: [(d, 1.7 + 400 * d**-0.25) for d in (1e9, 2e9, 4e9, 8e9)] for b in (1e5, 2e5, 4e5)}
    for curve in fit_curves(cells):
        assert pytest.approx(1.7, abs=0.02) == curve.E
        assert curve.reach(float(curve.loss_at(3e9))) == pytest.approx(3e9)
        assert curve.reach(float(curve.loss_at(5e10))) is None
        assert curve.reach(1.0) is None


def test_step_laws_sweep_agrees_with_zhangs_law_where_its_batches_tell(data: Path) -> None:
    # Another lab's runs; its batches below 0.4M tokens need more tokens than larger ones, and are left out.
    runs = read_runs(data / "step-law" / "dense_lr_bs_loss.csv", seq_len=2048)
    found = critical_batch(runs, least_batch=4e5)
    known = [h for h in found.hyperbolas if h.known]
    assert len(known) >= 3
    for h in known:
        expected = law("zhang-refit").predict("critical_batch_tokens", tokens=h.min_tokens)
        assert h.critical_batch == pytest.approx(expected, rel=0.4)
    untuned = critical_batch(runs)
    assert not any(h.known for h in untuned.hyperbolas)


def test_the_law_is_saved_and_read(tmp_path: Path, zhang_found: CriticalBatch) -> None:
    assert zhang_found.law is not None
    save_law(zhang_found.law, tmp_path / "critical.toml")
    again = law(str(tmp_path / "critical.toml"))
    assert again.predicts == zhang_found.law.predicts
    assert again.range["tokens"] == pytest.approx((1.449e9, 2.216e10), rel=1e-3)  # D_min of the five sizes


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ForescaleError, match="at 3 batches or more; these runs have 2 at loss 3"):
        fit_hyperbola([Point(batch_tokens=b, tokens=1e9) for b in (1e5, 2e5)], loss=3.0)
    one_length = world().filter(pl.col("tokens") > 1e10).group_by("params", "batch_tokens").first()
    with pytest.raises(ForescaleError, match="does not determine a critical batch: loss curves need 3 batches"):
        critical_batch(read_runs(one_length, needs=NEEDS))
    with pytest.raises(ForescaleError, match="column of --groups must be in the table; got 'size'"):
        critical_batch(read_runs(world(), needs=NEEDS), groups="size")
    with pytest.raises(ForescaleError, match="a target loss must be finite and above zero"):
        critical_batch(read_runs(world(), needs=NEEDS), targets=(-1.0,))
    with pytest.raises(ForescaleError, match=r"at loss 1\.5"):
        critical_batch(read_runs(world(), needs=NEEDS), targets=(1.5,))
