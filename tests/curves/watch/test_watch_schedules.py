"""Schedules of a run's rest: a Hugging Face trainer's against transformers itself, and those seen in the rates so far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from watch_worlds import log_of, losses

from forescale.curves.watch import _hugging_face
from forescale.curves.watch._end import PARTS
from forescale.curves.watch._rates import rates_of

TOTAL, WARM, PEAK = 1000, 100, 2e-3
MIDDLES = (np.arange(PARTS) + 0.5) / PARTS * TOTAL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 1.0}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"power": 2.0, "lr_end": 1e-4}),
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("inverse_sqrt", {}),
        ("inverse_sqrt", {"timescale": 500}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 5e-4}),
        ("warmup_stable_decay", {"num_decay_steps": 200}),
        ("warmup_stable_decay", {"num_decay_steps": 300, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}),
        ("warmup_stable_decay", {"num_decay_steps": 300, "decay_type": "linear"}),
    ],
)
def test_hugging_face_schedules_are_those_of_transformers(kind: str, options: dict[str, Any]) -> None:
    torch: Any = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    theirs = transformers.get_scheduler(kind, optimizer, WARM, TOTAL, scheduler_specific_kwargs=dict(options))
    told = {"lr_scheduler_type": kind, "warmup_steps": WARM, "learning_rate": PEAK, **options}
    found = _hugging_face.stated(told, TOTAL, None)
    assert found is not None
    start = 101 if "min_lr_ratio" in options else 0  # with a floor its warmup starts there: it is not followed
    for step in (0, 50, 99, 101, 250, 500, 699, 750, 801, 900, 990):
        if step < start:
            continue
        assert found[1](step / TOTAL) == pytest.approx(theirs.lr_lambdas[0](step), abs=1e-6), step


def test_a_scheduler_that_cannot_be_told_ahead_is_none() -> None:
    assert _hugging_face.stated({"lr_scheduler_type": "reduce_lr_on_plateau"}, TOTAL, PEAK) is None


def factors(kind: str, at: np.ndarray) -> np.ndarray:
    share = np.clip((at - WARM) / (TOTAL - WARM), 0, 1)
    down: dict[str, Any] = {
        "a line to zero": lambda: 1 - share,
        "a line to 0.1": lambda: 1 - 0.9 * share,
        "a cosine to 0.1": lambda: 0.1 + 0.9 * (1 + np.cos(math.pi * share)) / 2,
        "an inverse root": lambda: (1 + share * (TOTAL - WARM) / WARM) ** -0.5,
        "a power 2 of what is left": lambda: (1 - share) ** 2,
        "a line from the peak's end to zero": lambda: np.minimum(1, (1 - share) / 0.75),
        "a cosine from the peak's end to zero": lambda: (
            (1 + np.cos(math.pi * np.clip(4 * share / 3 - 1 / 3, 0, 1))) / 2
        ),
    }
    return np.minimum(at / WARM, 1) * down[kind]()


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("a line to zero", 0.2),
        ("a line to 0.1", 0.2),
        ("a cosine to 0.1", 0.3),
        ("an inverse root", 0.3),
        ("a power 2 of what is left", 0.3),
        ("a line from the peak's end to zero", 0.5),
        ("a cosine from the peak's end to zero", 0.6),
    ],
)
def test_the_rates_so_far_tell_the_rest(kind: str, seen: float) -> None:
    count = int(seen * TOTAL)
    at = np.arange(1, count + 1.0)
    found = rates_of(log_of(losses(count), total=TOTAL, rate=PEAK * factors(kind, at)), TOTAL)
    assert kind in found.said
    assert kind in found.of
    share, rates = found.of[kind]
    assert share >= 0.5
    np.testing.assert_allclose(rates, factors(kind, MIDDLES), atol=0.03)


def test_a_rate_in_its_warmup_leaves_all_usual_schedules() -> None:
    at = np.arange(1, 51.0)
    found = rates_of(log_of(losses(50), total=TOTAL, rate=PEAK * at / WARM), TOTAL)
    assert "the rate is still rising" in found.said
    assert len(found.of) > 3


def test_the_arguments_beside_a_log_are_read() -> None:
    settings = {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs.num_decay_steps": 200,
        "warmup_steps": 50,
    }
    found = rates_of(log_of(losses(300), total=TOTAL, settings=settings), TOTAL)
    assert found.known
    assert "warmup_stable_decay stands in the run's settings" in found.said
    (_, rates), *_ = found.of.values()
    assert (rates[(MIDDLES > 50) & (MIDDLES < 800)] == 1).all()
    assert rates[-1] < 0.001
