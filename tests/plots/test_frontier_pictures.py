"""Pictures of frontiers: what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forescale.plan.frontier import Cluster, Frontier, Goal, make_frontier
from forescale.plots import frontier_figure, frontier_map, frontier_trade, save

CASES = {
    "loss": (Goal(loss=2.6), Cluster()),
    "compute": (Goal(compute=1e21), Cluster(devices=256)),
    "deadline": (Goal(deadline=86400.0), Cluster(devices=64)),
    "served": (Goal(loss=2.6, inference_tokens=1e11), Cluster(devices=64)),
    "one point or two": (Goal(loss=2.6), Cluster(devices=8)),
    "fixed size": (Goal(loss=2.6, params=1e9), Cluster(seconds_per_step=1.0)),
}


@pytest.fixture(params=CASES, scope="module")
def made(request: pytest.FixtureRequest) -> Frontier:
    return make_frontier(*CASES[request.param])


def star(axes: Axes) -> tuple[float, float]:
    (line,) = (line for line in axes.lines if line.get_marker() == "*")
    return float(line.get_xdata()[0]), float(line.get_ydata()[0])


def dots(axes: Axes) -> set[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    return {(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}


def test_map(made: Frontier) -> None:
    axes = frontier_map(made)
    assert star(axes) == (made.chosen.params, made.chosen.tokens)
    assert dots(axes) == {(p.params, p.tokens) for p in made.points}
    assert axes.get_ylabel() == "tokens"
    assert "epoch" in axes.get_xlabel()
    assert len(axes.collections) >= 2  # contours, and that of the chosen loss


def test_trade(made: Frontier) -> None:
    axes = frontier_trade(made)
    first, second = made.trade
    assert star(axes) == (getattr(made.chosen, first), getattr(made.chosen, second))
    assert dots(axes) == {(getattr(p, first), getattr(p, second)) for p in made.points}
    assert axes.get_xlabel()
    assert "FLOPs" in axes.get_ylabel() or "nats" in axes.get_ylabel()
    for p in made.points:
        assert axes.get_xlim()[0] < getattr(p, first) < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < getattr(p, second) < axes.get_ylim()[1]


def test_every_axis_has_ticks_to_read(made: Frontier) -> None:
    figure = frontier_figure(made).figure
    figure.canvas.draw()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            assert sum(low <= tick <= high for tick in axis.get_majorticklocs()) >= 2


def test_given_axes_are_drawn_on(made: Frontier) -> None:
    axes = Figure(layout="constrained").add_subplot()
    assert frontier_map(made, axes) is axes
    other = Figure(layout="constrained").add_subplot()
    assert frontier_trade(made, other) is other


def test_saved(tmp_path: Path) -> None:
    save(frontier_figure(make_frontier(*CASES["loss"])), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
