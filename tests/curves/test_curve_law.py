"""The law of loss along a schedule: recovered in known worlds, scored on real curves it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from curve_worlds import FITTED, Array, cosine, dropped, step_by_step

import forescale as fs
from forescale.curves import Curve, CurveLaw, fit_curve_law
from forescale.curves._families import FAMILIES
from forescale.curves._fit import _choose, _Tried  # pyright: ignore[reportPrivateUsage]
from forescale.curves._path import path_of
from forescale.errors import ForescaleError, UnknownNameError

Sizes = Callable[[int], tuple[dict[str, Curve], CurveLaw]]
SHAPES = {"alpha": 0.5, "ln_c": 6.0, "ln_beta": -0.3, "kappa": 1.1, "q": 0.75, "r": 0.75, "u": 0.4}
LEVEL = (2.5, 0.25, 0.15)
STEPS = np.arange(1.0, 2001.0)
# Means over the unseen curves that Luo et al. 2025 (arXiv:2503.12811) reach with their published parameters.
PUBLISHED = {25: 0.0011, 100: 0.0014, 400: 0.0017}


def world(rates: Array, noise: float = 2e-4, seed: int = 0) -> Curve:
    loss = step_by_step(rates, SHAPES, LEVEL, 1e-3)
    loss = loss * (1 + noise * np.random.default_rng(seed).standard_normal(len(loss)))
    shown = np.arange(9, len(rates), 10)
    return Curve(np.arange(1.0, len(rates) + 1)[shown], loss[shown], rates[shown])


@pytest.mark.parametrize("rates", [cosine(STEPS), dropped(STEPS, 800, 0.3)], ids=["cosine", "drop"])
def test_the_columns_are_the_law_step_by_step(rates: Array) -> None:
    path = path_of(STEPS, rates, time_unit=len(STEPS), rate_unit=1e-3)
    columns = FAMILIES["memory"].columns(path, SHAPES) @ np.array(LEVEL)
    slow = np.interp(path.time * len(STEPS), STEPS, step_by_step(rates, SHAPES, LEVEL, 1e-3))
    later = path.time > 0.1  # the warmup alone moves the loss by tenths of a nat
    assert np.abs(columns - slow)[later].max() < 2e-3
    assert abs(columns[-1] - slow[-1]) < 5e-4


def test_a_known_law_is_found_again_on_a_schedule_not_seen() -> None:
    curves = [world(cosine(STEPS)), world(dropped(STEPS, 3000, 1.0), seed=1), world(dropped(STEPS, 700, 0.3), seed=2)]
    law = fit_curve_law(curves)
    unseen = dropped(STEPS, 1500, 0.15)
    truth = step_by_step(unseen, SHAPES, LEVEL, 1e-3)
    predicted = law.predict(STEPS, unseen)
    assert abs(predicted[-1] - truth[-1]) < 0.004
    assert np.abs(predicted / truth - 1)[300:].mean() < 1e-3


@pytest.mark.parametrize("size", PUBLISHED)
def test_curves_not_fitted_are_predicted_better_than_the_published_law_does(size: int, sizes: Sizes) -> None:
    curves, law = sizes(size)
    unseen = [curve for name, curve in curves.items() if name not in FITTED]
    errors = [np.mean(np.abs(law.predict(c.step, c.learning_rate) / c.loss - 1)) for c in unseen]
    assert len(errors) == 3
    assert np.mean(errors) < PUBLISHED[size]


def test_a_law_beats_the_two_baselines_that_need_none(sizes: Sizes) -> None:
    curves, law = sizes(100)
    annealed = curves["wsd_20000_24000"]
    off = abs(law.final_loss(annealed.step, annealed.learning_rate) - annealed.final_loss)
    said = law.baselines(float(annealed.step[-1]))
    assert off < 0.005
    assert all(off < abs(loss - annealed.final_loss) for loss in said.values())
    assert set(said) == {"best short run", "straight line"}


def test_a_finer_schedule_says_the_same(sizes: Sizes) -> None:
    curves, law = sizes(400)
    records = curves["cosine_24000"]
    steps = np.arange(1.0, 23921.0)
    rates = np.interp(steps, [0, 2160, *records.step], [0, 3e-4, *records.learning_rate])
    fine = np.interp(records.step, steps, law.predict(steps, rates))
    coarse = law.predict(records.step, records.learning_rate)
    assert np.abs(fine - coarse)[10:].max() < 1e-3


def test_a_wrong_schedule_shows_in_the_left_out_errors(sizes: Sizes) -> None:
    curves, law = sizes(400)
    swapped = [curves[name] for name in FITTED]
    flat = np.full_like(swapped[0].learning_rate, 3e-4)
    swapped[0] = Curve(swapped[0].step, swapped[0].loss, flat)
    assert fit_curve_law(swapped, law="memory").left_out_error > 4 * law.left_out_error


def test_the_interval_widens_with_its_share_and_the_horizon(sizes: Sizes) -> None:
    curves, law = sizes(400)
    widths: dict[str, Array] = {}
    for name in ("constant_24000", "constant_72000"):
        low, high = law.interval(curves[name].step, curves[name].learning_rate)
        widths[name] = high - low
    wide = law.interval(curves[FITTED[0]].step, curves[FITTED[0]].learning_rate, 0.95)
    narrow = law.interval(curves[FITTED[0]].step, curves[FITTED[0]].learning_rate, 0.5)
    assert widths["constant_72000"][-1] > widths["constant_24000"][-1]
    assert (wide[0] < narrow[0]).all()
    assert (wide[1] > narrow[1]).all()


def test_what_lies_outside_is_said_with_its_factor(sizes: Sizes) -> None:
    curves, law = sizes(25)
    longer = curves["constant_72000"]
    assert law.beyond(longer.step, longer.learning_rate)["horizon"] == pytest.approx(71936 / 23936)
    assert law.beyond(longer.step, longer.learning_rate * 2)["peak"] == pytest.approx(2)
    assert not law.beyond(curves[FITTED[0]].step, curves[FITTED[0]].learning_rate)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [((0.002, 0.0021, 0.0019), "memory"), ((0.0001, 0.0002, 0.0001), "linear"), ((0.0001, 0.002, 0.0029), "memory")],
    ids=["worse", "surely better", "better on one alone"],
)
def test_another_law_is_taken_only_where_it_is_surely_better(others: tuple[float, ...], chosen: str) -> None:
    tried = {
        "memory": _Tried(tightness=1.0, errors=(0.001, 0.0011, 0.0009)),
        "linear": _Tried(tightness=1.0, errors=others),
    }
    assert _choose(tried)[0] == chosen


def test_one_curve_gets_the_default_and_says_why() -> None:
    law = fs.curves.fit_curve_law(world(cosine(STEPS)))
    assert law.name == "memory"
    assert "one curve" in law.reason
    assert law.left_out_error == 0


def test_a_law_of_another_name_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="a curve law is auto or one of memory"):
        fit_curve_law([world(cosine(STEPS))], law="quadratic")


def test_no_curve_is_an_error() -> None:
    with pytest.raises(ForescaleError, match="needs at least one Curve"):
        fit_curve_law([])
