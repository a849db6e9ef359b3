"""Pictures of a tuning: that they show its runs, its beliefs and its choice where they are."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.path import Path as Outline
from matplotlib.text import Text

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Estimate, Foresight
from forescale.plots import (
    save,
    tuning_belief_map,
    tuning_gap_chart,
    tuning_runs_charts,
    tuning_runs_figure,
    tuning_target_chart,
)
from forescale.plots._tune import _ellipse
from forescale.sweep.tune import Tuned

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))

from tuned_valley import tuning


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return tuning()


@pytest.fixture(scope="module")
def belief(tuned: Tuned) -> Axes:
    return tuning_belief_map(tuned)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text)]


def marked(axes: Axes, *markers: str) -> list[tuple[float, float]]:
    """Places of markers; lines between runs have none."""
    lines = [line for line in axes.lines if line.get_marker() in markers]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_a_cell_has_its_runs_and_those_that_diverged_at_the_top(tuned: Tuned) -> None:
    charts = tuning_runs_charts(tuned)
    entries = [entry for each in tuned.rounds for entry in each.entries]
    assert [chart.get_title(loc="left").partition("\n")[0] for chart in charts] == [
        "N = 20.6K, D = 400K",
        "N = 40.2K, D = 798K",
        "N = 79.8K, D = 1.6M",
    ]
    assert "2 diverged, 1 without a loss" in charts[2].get_title(loc="left")
    for i, chart in enumerate(charts):
        done = [e for e in entries[9 * i : 9 * i + 9] if e.state == "done"]
        wanted = [(e.job.row["learning_rate"], e.outcome.loss) for e in done]
        assert sorted(marked(chart, "o", "s", "^")) == sorted(wanted)
        lost = [e.job.row["learning_rate"] for e in entries[9 * i : 9 * i + 9] if e.state == "diverged"]
        assert sorted(rate for rate, _ in marked(chart, "x")) == sorted(lost)
        assert all(height > max(loss for _, loss in wanted) for _, height in marked(chart, "x"))


def test_the_band_of_a_cell_is_what_the_calibrated_law_says_there(tuned: Tuned) -> None:
    law = tuned.calibration.law
    for chart, entry in zip(tuning_runs_charts(tuned)[:2], tuned.rounds[0].entries[::9], strict=True):
        row = entry.job.row
        middle = next(line for line in chart.lines if line.get_linestyle() == "--").get_xdata()[0]
        chosen = law.predict("learning_rate", params=row["params"], tokens=row["tokens"])
        assert middle == pytest.approx(chosen / law.predicts["learning_rate"].caution, rel=1e-3)  # a second way to it
        (band,) = chart.patches
        low, high = band.get_extents().transformed(chart.transData.inverted()).intervalx
        assert math.sqrt(low * high) == pytest.approx(middle, rel=1e-6)
        assert high > low


def test_a_loss_far_above_the_others_is_an_open_marker_at_the_top(tuned: Tuned) -> None:
    first, *others = tuned.rounds[0].entries
    far = replace(first, outcome=replace(first.outcome, loss=40.0))
    chart = tuning_runs_charts(replace(tuned, rounds=(replace(tuned.rounds[0], entries=(far, *others)),)))[0]
    assert chart.get_ylim()[1] < 40
    (open_one,) = (line for line in chart.lines if line.get_markerfacecolor() == "none")
    assert open_one.get_xdata()[0] == first.job.row["learning_rate"]


def test_a_cell_without_a_loss_is_a_band_alone(tuned: Tuned) -> None:
    failed = [entry for entry in tuned.rounds[1].entries if entry.state == "failed"]
    (chart,) = tuning_runs_charts(replace(tuned, rounds=(replace(tuned.rounds[1], entries=tuple(failed)),)))
    assert chart.get_title(loc="left").endswith("1 run, 1 without a loss")
    assert not marked(chart, "o", "s", "^", "x")


def test_all_cells_make_one_figure(tuned: Tuned, tmp_path: Path) -> None:
    figure = tuning_runs_figure(tuned, columns=2)
    assert len(figure.axes) == 3
    save(figure, tmp_path / "runs.png")
    assert (tmp_path / "runs.png").stat().st_size > 10_000
    assert not tuning_runs_figure(replace(tuned, rounds=())).axes


def test_the_ellipse_holds_four_fifths_of_the_belief() -> None:
    # Draws from the Gaussian that the foresight describes: two standard deviations in octaves, and their correlation.
    rate = Estimate(value=1e-2, low=1e-3, high=1e-1, octaves=0.6)
    batch = Estimate(value=1e5, low=1e4, high=1e6, octaves=1.5)
    seen = Foresight(learning_rate=rate, batch_tokens=batch, correlation=0.7, loss_gap=0.01)
    octaves = [[0.36, 0.7 * 0.9], [0.7 * 0.9, 2.25]]
    draws = np.random.default_rng(0).multivariate_normal([0, 0], octaves, 40_000)
    batches, rates = _ellipse(seen)
    edge = Outline(np.column_stack([np.log2(rates / 1e-2), np.log2(batches / 1e5)]))
    assert edge.contains_points(draws).mean() == pytest.approx(0.8, abs=0.01)
    flat = np.random.default_rng(0).normal(size=(40_000, 2)) * (0.6, 1.5)
    assert edge.contains_points(flat).mean() < 0.75  # without the correlation it would not


def test_the_map_has_an_ellipse_before_and_after_each_round(belief: Axes, tuned: Tuned) -> None:
    ellipses = [line for line in belief.lines if len(line.get_xdata()) > 100]
    assert len(ellipses) == 1 + len(tuned.rounds)
    for line, seen in zip(ellipses, [tuned.calibration.before, *(r.after for r in tuned.rounds)], strict=True):
        batches, rates = (np.asarray(data) for data in line.get_data())
        assert math.sqrt(batches.min() * batches.max()) == pytest.approx(seen.batch_tokens.value, rel=1e-2)
        assert math.sqrt(rates.min() * rates.max()) == pytest.approx(seen.learning_rate.value, rel=1e-2)
    said = texts(belief)
    assert {"best setting, 80 %: before the proxies", "after round 1", "after round 2, + its middle"} <= set(said)


def test_the_map_has_the_choice_the_other_laws_and_the_targets_runs(belief: Axes, tuned: Tuned) -> None:
    recipe, verified = tuned.run.recipe, tuned.verified
    assert marked(belief, "*") == [(recipe.batch_tokens.number, recipe.learning_rate.number)]
    labels = [text.partition(" ")[0] for text in texts(belief)]
    assert {"step-law", "deepseek", "porian"} <= set(labels)
    step = next(other for other in tuned.run.plan.alternatives if other.law == "step-law")
    assert (step.batch_tokens, step.learning_rate) in marked(belief, "o")
    tries = (verified.predicted, *verified.others)
    (runs,) = (c for c in belief.collections if len(c.get_offsets()) > 1)
    trained = [(t.batch_tokens, t.learning_rate) for t in tries if math.isfinite(t.loss)]
    assert [tuple(place) for place in runs.get_offsets().tolist()] == trained
    lowest = min(t.loss for t in tries)
    assert runs.get_array().tolist() == pytest.approx(
        [100 * (t.loss / lowest - 1) for t in tries if math.isfinite(t.loss)]
    )
    assert marked(belief, "X") == [(t.batch_tokens, t.learning_rate) for t in tries if math.isinf(t.loss)]


def test_the_gap_falls_with_what_was_spent(tuned: Tuned) -> None:
    axes = tuning_gap_chart(tuned)
    points = marked(axes, "o")
    assert points[0] == (0, 100 * tuned.calibration.before.loss_gap)
    assert points[-1] == pytest.approx(
        (100 * tuned.spent / tuned.target.compute, 100 * tuned.rounds[-1].after.loss_gap)
    )
    assert marked(axes, "*") == [(points[-1][0], 100 * tuned.verified.gap)]
    assert marked(axes, "D") == [(0, pytest.approx(0.4))]  # Step Law, an octave above the best rate: tuned_valley.loss
    assert not marked(tuning_gap_chart(replace(tuned, verified=None)), "*", "D")
    lucky = (*tuned.verified.others, replace(tuned.verified.predicted, loss=tuned.verified.predicted.loss / 2))
    far = tuning_gap_chart(replace(tuned, verified=replace(tuned.verified, others=lucky)))
    assert far.get_ylim()[1] > marked(far, "*")[0][1] == pytest.approx(100)


def test_the_targets_chart_marks_prediction_and_lowest(tuned: Tuned) -> None:
    axes, verified = tuning_target_chart(tuned), tuned.verified
    assert marked(axes, "*") == [(verified.predicted.learning_rate, verified.predicted.loss)]
    ring = next(line for line in axes.lines if line.get_markersize() == 15)
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (verified.lowest.learning_rate, verified.lowest.loss)
    assert (verified.published.learning_rate, verified.published.loss) in marked(axes, "D")
    assert [rate for rate, _ in marked(axes, "x")] == [verified.others[-1].learning_rate]
    assert axes.get_title(loc="left") == f"the target's true gap: {100 * verified.gap:.3g} %"


def test_a_picture_of_the_targets_runs_needs_some(tuned: Tuned) -> None:
    with pytest.raises(ForescaleError, match="this tuning has none: tune with verify_runs"):
        tuning_target_chart(replace(tuned, verified=None))
    lost = replace(tuned.verified, predicted=replace(tuned.verified.predicted, loss=math.inf))
    assert tuning_target_chart(replace(tuned, verified=lost)).get_title(loc="left") == "the prediction diverged"
