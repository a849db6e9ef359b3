"""Collapse of curves onto one: exact where theory says so, and off where a run is sick."""

from __future__ import annotations

import numpy as np
import pytest

from forescale.curves import Collapse, Curve, collapse
from forescale.errors import ForescaleError

MU, NU, FLOOR = 0.5, 0.4, 2.0


def curve(size: float, noise: float = 0.0, seed: int = 0, horizon: float | None = None) -> Curve:
    """A world of Qiu et al. 2025 (arXiv:2507.02119): L = L0 + t^-mu + p^-nu, trained to t* = p^(nu / mu)."""
    total = size ** (NU / MU) if horizon is None else horizon
    steps = np.linspace(total / 500, total, 500)
    loss = FLOOR + steps**-MU + size**-NU
    loss = loss * (1 + noise * np.random.default_rng(seed).standard_normal(len(steps)))
    return Curve(steps, loss, np.full(len(steps), 1e-3))


@pytest.fixture
def reference() -> Collapse:
    return collapse([curve(size) for size in (1e4, 1e5, 1e6)], irreducible=FLOOR)


def test_the_collapse_is_exact_at_the_compute_optimal_horizon(reference: Collapse) -> None:
    late = reference.share > 0.1
    assert np.nanmax(reference.deviation[late]) < 1e-6
    # l(x) = (x^-mu + 1) / 2 at t*, where both terms are equal: the paper's own case, at the bins' middles.
    expected = (reference.share**-MU + 1) / 2
    assert reference.reference[late] == pytest.approx(expected[late], rel=0.01)


def test_at_other_horizons_it_is_not() -> None:
    mixed = collapse([curve(1e4), curve(1e6, horizon=1e3)], irreducible=FLOOR)
    assert np.nanmax(mixed.deviation) > 0.02


def test_the_end_of_a_run_from_its_first_tenth(reference: Collapse) -> None:
    whole = curve(1e7)
    seen = Curve(whole.step[:50], whole.loss[:50], whole.learning_rate[:50])
    value, low, high = reference.final_loss(seen, float(whole.step[-1]))
    assert value == pytest.approx(float(whole.loss[-1]), rel=1e-3)
    assert low < value < high


def test_repeats_give_the_floor_that_a_collapse_can_reach() -> None:
    seeds = [curve(1e5, noise=0.01, seed=seed) for seed in range(8)]
    found = collapse([curve(s, 0.01, i) for i, s in enumerate((1e4, 1e5, 1e6))], repeats=[seeds])
    # 10 points a bin, of two bins: 0.01 sqrt(2 / 10) is the spread of the ratio of two means.
    assert np.nanmean(found.seed_floor[:-1]) == pytest.approx(0.01 * np.sqrt(0.2), rel=0.35)


def test_a_run_that_turns_sick_leaves_the_band(reference: Collapse) -> None:
    whole = curve(1e6, noise=1e-5)
    total = float(whole.step[-1])
    sick = whole.loss * np.where(whole.step > 0.6 * total, 1.01, 1.0)
    healthy = reference.residual(whole, total)
    planted = reference.residual(Curve(whole.step, sick, whole.learning_rate), total)
    late = reference.share > 0.62
    assert np.nanmax(np.abs(healthy[reference.share > 0.1])) < 0.005
    assert np.nanmin(planted[late]) > 4 * np.nanmax(np.abs(healthy[late]))


def test_what_cannot_be_compared_is_a_sentence(reference: Collapse) -> None:
    with pytest.raises(ForescaleError, match="two curves or more; got 1"):
        collapse([curve(1e4)])
    with pytest.raises(ForescaleError, match="below every loss"):
        collapse([curve(1e4), curve(1e5)], irreducible=5.0)
    with pytest.raises(ForescaleError, match="total must be the steps of the whole run"):
        reference.final_loss(curve(1e4), 10.0)
    with pytest.raises(ForescaleError, match="let it run on"):
        reference.final_loss(curve(1e4), 1e9)
