"""The best schedule in a law, and candidates ranked by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from forescale import schedules
from forescale.curves import Curve, CurveLaw, rank_schedules
from forescale.errors import ForescaleError

Sizes = Callable[[int], tuple[dict[str, Curve], CurveLaw]]


@pytest.fixture(scope="module")
def law(sizes: Sizes) -> CurveLaw:
    return sizes(400)[1]


def test_the_best_schedule_falls_and_beats_the_usual_ones(law: CurveLaw) -> None:
    best = law.best_schedule(24000, 3e-4, 3e-5)
    after = best.learning_rate[best.learning_rate.argmax() :]
    assert (np.diff(after) <= 1e-12).all()
    assert after.min() >= 3e-5 * (1 - 1e-9)
    assert best.learning_rate.max() == pytest.approx(3e-4)
    assert best.loss < min(best.compared.values())
    assert set(best.compared) >= {"linear", "wsd 20%"}
    assert best.compared["wsd 20%"] < best.compared["linear"]  # as measured: cosine 2.740, wsd 2.722 at 24,000 steps


def test_its_points_are_the_same_schedule(law: CurveLaw) -> None:
    best = law.best_schedule(24000, 3e-4, 3e-5)
    again = rank_schedules(law, {"best": schedules.points(best.points)}, 24000, 3e-4)[0]
    assert again.loss == pytest.approx(best.loss, abs=1e-3)


def test_candidates_stand_in_the_order_that_was_measured(law: CurveLaw, sizes: Sizes) -> None:
    ranked = rank_schedules(law, {"constant": schedules.constant(0.09), "cosine": schedules.cosine(0.09, 0.1)}, 24000)
    assert [each.name for each in ranked] == ["cosine", "constant"]
    curves = sizes(400)[0]
    measured = [curves["cosine_24000"].final_loss, curves["constant_24000"].final_loss]
    assert [each.loss for each in ranked] == pytest.approx(measured, abs=0.005)
    assert all(each.low < each.loss < each.high for each in ranked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((24000, 3e-4, 3e-4), "below the peak of 0.0003; got 0.0003"),
        ((24000, 3e-4, -1.0), "at least 0"),
        ((0, 3e-4, 0.0), "total must be finite and above zero"),
        ((24000, float("nan"), 0.0), "peak must be finite"),
    ],
)
def test_a_best_schedule_that_cannot_be_is_an_error(law: CurveLaw, arguments: tuple[float, ...], said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        law.best_schedule(*arguments)


def test_a_warmup_longer_than_the_run_is_an_error(law: CurveLaw) -> None:
    with pytest.raises(ForescaleError, match="shorter than the run"):
        law.best_schedule(1000, 3e-4, 0.0, warmup=1000)
