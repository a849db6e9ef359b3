"""The picture of a front: its steps, who is named, and what does not fit the frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forescale.plots import pareto_chart, picture_bytes
from forescale.sweep.pareto import DECODING_SPEED, STEP_SECONDS, Metric, Point, make_front


def points(metric: Metric) -> list[Point]:
    """Three on the front, one beaten, one far above, one that diverged."""
    pairs = [(2.0, 10.0), (2.2, 5.0), (2.5, 2.0), (2.3, 9.0), (9.0, 9.0), (math.inf, 1.0)]
    return [
        Point(settings={"depth": i}, loss=loss, value=100 / value if metric.higher_is_better else value)
        for i, (loss, value) in enumerate(pairs)
    ]


@pytest.mark.parametrize("metric", [DECODING_SPEED, STEP_SECONDS], ids=["more", "less"])
def test_the_front_is_drawn_and_named(metric: Metric) -> None:
    found = make_front(points(metric), metric, noise=0.001)
    axes: Any = pareto_chart(found)
    assert axes.get_xlabel().startswith(metric.label)
    assert axes.get_ylabel() == "loss (nats per token)"
    assert {t.get_text() for t in axes.texts} == {"depth 0  100%", "depth 1  100%", "depth 2  100%"}
    assert [t.get_text() for t in axes.get_legend().get_texts()][-1] == "beaten (1 more above the frame)"
    assert picture_bytes(axes, Path("a.png")).startswith(b"\x89PNG")


def test_the_shaded_area_is_the_hypervolume() -> None:
    found = make_front(points(STEP_SECONDS), STEP_SECONDS, noise=0.001)
    axes: Any = pareto_chart(found)
    (polygon,) = axes.collections[0].get_paths()
    x, y = polygon.vertices.T  # the shoelace formula
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    assert area == pytest.approx(found.hypervolume)


def test_a_doubtful_point_is_hollow() -> None:
    # All but equal under large noise: the quickest is on the front, the slowest if its loss is the lowest of three.
    three = [Point(settings={"n": i}, loss=2.0 - 1e-6 * i, value=1 + 1e-6 * i) for i in range(3)]
    found = make_front(three, STEP_SECONDS, noise=0.01)
    assert found.chances == pytest.approx((1, 1 / 2, 1 / 3), abs=0.05)
    axes: Any = pareto_chart(found)
    assert "on it with less" in [t.get_text() for t in axes.get_legend().get_texts()]


def test_one_point_is_a_picture_too() -> None:
    axes = pareto_chart(make_front([Point(loss=2.0, value=0.0)], STEP_SECONDS), describe=lambda _: "the only one")
    assert picture_bytes(axes, Path("a.svg"))
