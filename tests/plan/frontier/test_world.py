"""The two laws as functions: inverses, McCandlish's hyperbola, which laws may be named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.laws import law, names
from forescale.plan.frontier import Goal, World
from forescale.plan.frontier._world import world

CRITICAL = ("zhang-refit", "power-lines", "kaplan", "zhang-cbs", "marin-cbs")
EPOCH = law("epoch").formula("loss").constants


def of(critical: str = "zhang-refit", loss: str = "epoch") -> World:
    return World(loss_law=law(loss), critical_law=law(critical))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CRITICAL),
    st.floats(1e7, 1e12),
    st.floats(1e8, 1e14),
    st.floats(1e-3, 100),
)
def test_small_batch_tokens_invert_the_cost_of_a_batch(
    critical: str, params: float, least: float, share: float
) -> None:
    made = of(critical)
    N, D_min = np.array(params), np.array(least)
    batch = share * made.critical(N, D_min)
    tokens = D_min * (1 + batch / made.critical(N, D_min))
    assert made.small_batch_tokens(N, tokens, batch) == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("critical", CRITICAL)
def test_the_hyperbola(critical: str) -> None:
    # McCandlish et al. 2018 (facts/timescale-schedule-parametrization.md 1.4 and 7.1): (S / S_min - 1) (D / D_min - 1) = 1,
    # both twice their minimum at B_crit; D is linear in B; at B / B_crit of 0.1, 1, 10 D is 1.1, 2, 11 times D_min.
    made, N, D_min = of(critical), 1e9, 2e10
    critical_batch = float(made.critical(N, D_min))
    share = np.array([0.1, 1.0, 10.0])
    tokens = D_min * np.array([1.1, 2.0, 11.0])
    assert made.small_batch_tokens(N, tokens, share * critical_batch) == pytest.approx([D_min] * 3, rel=1e-7)
    steps, fewest = tokens / (share * critical_batch), D_min / critical_batch
    assert (steps / fewest - 1) * (tokens / D_min - 1) == pytest.approx([1.0] * 3)
    assert steps / fewest == pytest.approx([11, 2, 1.1])


def test_tokens_of_a_loss_are_the_closed_form() -> None:
    # E + A / N^alpha + B / D^beta = L, solved for D.
    N = np.array([3e8, 1e9, 7e9])
    rest = 2.6 - EPOCH["E"] - EPOCH["A"] / N ** EPOCH["alpha"]
    assert of().least_tokens(N, 2.6) == pytest.approx((EPOCH["B"] / rest) ** (1 / EPOCH["beta"]), rel=1e-9)
    assert np.isinf(of().least_tokens(1e8, 2.6))  # A / N^alpha alone is above


@pytest.mark.parametrize("name", [n for n in names() if "loss" in law(n).predicts and n != "cerebras-gpt"])
def test_every_loss_law_of_params_and_tokens_is_a_function(name: str) -> None:
    made = of(loss=name)
    N, D = np.geomspace(1e8, 1e11, 5), 2e11
    losses = made.loss(N, D)
    assert np.isfinite(losses).all()
    given_back = made.loss(N, made.least_tokens(N, losses))
    assert given_back == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize(
    ("laws", "said"),
    [
        (("cerebras-gpt",), "needs one of both params and tokens"),
        (("step-law",), "a frontier needs loss or critical_batch_tokens"),
        (("epoch", "chinchilla"), "two laws are named for loss"),
        (("batch_tokens=power-lines",), "takes laws for loss and critical_batch_tokens"),
        (("loss=power-lines",), "does not predict loss"),
        (("nope",), "no law is named"),
    ],
)
def test_laws_that_do_not_fit(laws: tuple[str, ...], said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        world(Goal(loss=2.6, laws=laws))


def test_default_laws_are_verified() -> None:
    made = world(Goal(loss=2.6))
    for one, quantity in ((made.loss_law, "loss"), (made.critical_law, "critical_batch_tokens")):
        assert one.formula(quantity).evidence != "unverified"


def test_repetition_needs_a_law_that_knows_it() -> None:
    assert world(Goal(loss=3.0, unique_tokens=1e9)).loss_law.name == "muennighoff"
    with pytest.raises(ForescaleError, match="does not know repeated data"):
        world(Goal(loss=3.0, unique_tokens=1e9, laws=("epoch",)))
