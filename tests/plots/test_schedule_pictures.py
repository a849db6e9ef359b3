"""The picture of schedules: what is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forescale.errors import ForescaleError
from forescale.plots import save, schedules_figure
from forescale.schedules import SCHEDULES, by_name, initial_weight, linear_to_zero, points

ALL = {name: by_name(name) for name in SCHEDULES if name != "points"}


@pytest.mark.parametrize("steps", [150, 2500])
@pytest.mark.parametrize("batch", [None, points([(0, 0.25), (0.5, 1), (1, 1)])])
def test_both_panels_hold_every_schedule(steps: int, batch) -> None:
    left, right = schedules_figure(ALL, steps, 0.21, batch=batch).figure.axes
    assert [line.get_label() for line in left.lines] == list(ALL)
    for line, schedule in zip(left.lines, ALL.values(), strict=True):
        assert [schedule(p) for p in line.get_xdata()] == list(line.get_ydata())
    for line, schedule in zip(right.lines, ALL.values(), strict=True):
        # The area under the density is what the initial weights leave.
        area = np.trapezoid(line.get_ydata(), line.get_xdata())
        assert area == pytest.approx(1 - initial_weight(schedule, steps, 0.21, batch=batch), abs=2e-3)


def test_every_line_has_a_look_of_its_own_and_a_name() -> None:
    left, right = schedules_figure(ALL, 150, 0.21).figure.axes
    for axes in (left, right):
        assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(ALL)
        assert axes.get_xlabel() == "progress"
        assert axes.get_ylabel()
    (legend,) = left.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(ALL)


def test_the_legend_lies_inside_the_figure_whatever_the_names() -> None:
    long = {f"points:0=0,0.{i}=1,0.8=0.25,0.9=0.125,1=0.0625": linear_to_zero() for i in range(1, 5)}
    figure = schedules_figure(ALL | long, 150, 0.21).figure
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_no_schedule_is_no_picture() -> None:
    with pytest.raises(ForescaleError, match="needs one"):
        schedules_figure({}, 100, 0.21)


def test_saved(tmp_path: Path) -> None:
    save(schedules_figure({"linear": linear_to_zero()}, 100, 0.21), tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
