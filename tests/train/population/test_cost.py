"""How many members are worth their while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from loop_runs import MIXED, TINY, tiny_config

from forescale.train import TrainConfig
from forescale.train.population import _cost, best_members, costs


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Nothing that one test measured is known to the next."""
    _cost._measured.clear()
    yield
    _cost._measured.clear()


def timed(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[float]:
    """Have the measurements come to these seconds of a step of all members; those that are left."""
    left = list(seconds)
    monkeypatch.setattr(_cost, "_seconds", lambda *_: left.pop(0))
    return left


CONFIG: TrainConfig = tiny_config()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1e-2, 2e-2, 2e-2, 3.8e-2), 8),  # 16 members gain 5 % over 8
        ((1e-2, 2e-2, 3.9e-2), 4),  # 4 members halve it, 8 gain no more
        ((1e-2, 3.8e-2), 1),  # 5 % is not enough
        ((1e-2, 6e-2), 1),
    ],
)
def test_members_double_while_they_gain(monkeypatch, seconds: tuple[float, ...], expected: int) -> None:
    left = timed(monkeypatch, *seconds)
    assert best_members(CONFIG) == expected
    assert not left


def test_a_slow_step_is_not_tried_with_more(monkeypatch) -> None:
    left = timed(monkeypatch, _cost.SLOW, 0.0)
    assert best_members(CONFIG) == 1
    assert left == [0.0]


def test_never_more_than_the_most(monkeypatch) -> None:
    timed(monkeypatch, 1e-2, 1e-3, 1e-3, 1e-3)
    assert [cost.members for cost in costs(CONFIG, most=10)] == [1, 4, 8, 10]
    timed(monkeypatch, 1e-2, 1e-3)
    assert best_members(CONFIG, most=3) == 3
    timed(monkeypatch, 1e-2)
    assert best_members(CONFIG, most=1) == 1


def test_a_program_is_measured_once(monkeypatch) -> None:
    timed(monkeypatch, 1e-2, 6e-2)
    assert best_members(CONFIG) == best_members(replace(CONFIG, learning_rate=0.3, seed=5, steps=99)) == 1
    with pytest.raises(IndexError):  # another program, and no numbers are left
        best_members(replace(CONFIG, seq_len=8))


def test_what_must_train_alone_is_alone(monkeypatch) -> None:
    for config in (replace(CONFIG, shape=MIXED), replace(CONFIG, optimizer="muon")):
        timed(monkeypatch, 1e-2, 0.0)
        assert best_members(config) == 1


def test_members_that_do_not_fit_are_not_tried(monkeypatch) -> None:
    params = sum(part.params for part in TINY.parts())
    monkeypatch.setattr(_cost, "CPU_MEMORY", 8 * params * _cost.STATE)
    timed(monkeypatch, 1e-2, 1e-3, 1e-3, 1e-3)
    assert [cost.members for cost in costs(CONFIG)] == [1, 4, 8]

    def full(_: list[object]) -> object:
        raise torch.OutOfMemoryError

    _cost._measured.clear()
    timed(monkeypatch, 1e-2)
    monkeypatch.setattr(_cost, "_population_step", full)
    assert best_members(CONFIG) == 1


def test_tiny_steps_are_worth_it_here() -> None:
    """Measured: launches rule at this size, on any processor (2.1 to 3.2 times in the project's notes)."""
    found = costs(CONFIG, most=8)
    assert best_members(CONFIG, most=8) > 1
    assert found[0].seconds > 1.2 * min(cost.seconds for cost in found)
