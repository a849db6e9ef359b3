"""Pictures of the checks: what they show, and runs of which nothing is left to show."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forescale.check import CoordCheck, Point, TransferCheck
from forescale.check._slopes import make_curve
from forescale.check._transfer_values import find_minima
from forescale.plots import coords_chart, picture_bytes, transfer_chart

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def transfer(loss: Callable[[float, float], float]) -> TransferCheck:
    points = tuple(Point(size=s, learning_rate=r, seed=0, loss=loss(s, r)) for s in (1.0, 2.0) for r in RATES)
    minima = find_minima(points, [1.0, 2.0])
    return TransferCheck(
        scheme="s", axis="width", fixed={}, steps=1, tokens=1, seeds=1, points=points, minima=minima
    )  # fmt: skip


def test_every_minimum_is_marked() -> None:
    check = transfer(lambda size, rate: 3 + 0.1 * math.log2(rate * size / 1.2) ** 2)
    axes: Any = transfer_chart(check)
    stars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "*"]
    assert stars == pytest.approx([1.2, 0.6])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["width 1", "width 2"]


def test_runs_that_all_diverged_make_a_picture() -> None:
    check = transfer(lambda _size, _rate: math.inf)
    assert check.verdict == "undecided"
    assert picture_bytes(transfer_chart(check), Path("a.png")).startswith(b"\x89PNG")


def test_activations_that_are_no_numbers_are_named() -> None:
    lost = make_curve("logits", (32, 64), [(1, 1), (math.nan, math.inf)], 0.25)
    right = make_curve("ffn", (32, 64), [(1, 1), (2, 2)], 0.25)
    options: dict[str, Any] = {
        "axis": "width",
        "sizes": (32.0, 64.0),
        "fixed": {},
        "steps": 1,
        "seeds": 1,
        "learning_rate": 1.0,
    }
    check = CoordCheck(scheme="s", curves=(right, lost), decays=(), **options)
    first = coords_chart(check)
    assert first.get_title().startswith("ffn: flat")
    assert check.verdict == "fail"
    assert picture_bytes(first, Path("a.png")).startswith(b"\x89PNG")
