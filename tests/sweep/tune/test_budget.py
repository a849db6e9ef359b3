"""Budgets as people write them."""

from __future__ import annotations

import pytest

from forescale.errors import ForescaleError
from forescale.sweep.tune import Budget, read_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10%", Budget(share=0.1)),
        ("0.5 %", Budget(share=0.005)),
        ("30min", Budget(seconds=1800.0)),
        ("30 minutes", Budget(seconds=1800.0)),
        ("2h", Budget(seconds=7200.0)),
        ("1d12h", Budget(seconds=129600.0)),
        ("90s", Budget(seconds=90.0)),
        ("45m", Budget(seconds=2700.0)),
        ("1e17", Budget(compute=1e17)),
        ("3.2P", Budget(compute=3.2e15)),
    ],
)
def test_what_people_write(text: str, budget: Budget) -> None:
    assert read_budget(text) == budget


def test_in_flops() -> None:
    assert Budget(share=0.1).flops(1e15, lambda: 1e9) == pytest.approx(1e14)
    assert Budget(seconds=60.0).flops(1e15, lambda: 1e9) == pytest.approx(6e10)
    assert Budget(compute=5.0).flops(1e15, lambda: 1e9) == 5.0


@pytest.mark.parametrize("text", ["", "ten", "-5%", "0%", "5x", "2000%", "%"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ForescaleError, match="budget"):
        read_budget(text)


def test_one_kind_of_budget() -> None:
    with pytest.raises(ForescaleError, match="one of them"):
        Budget(share=0.1, compute=1e12)
    with pytest.raises(ForescaleError, match="one of them"):
        Budget()
