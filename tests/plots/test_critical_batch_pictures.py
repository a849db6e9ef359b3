"""Pictures of critical batches: every run, interval and bound is drawn; nothing is drawn twice or off the axes."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.noise.critical import Branch, CriticalBatch, branched, critical_batch
from forescale.plots import branches_chart, critical_batch_figure, picture_bytes
from forescale.runs import read_runs

BATCHES = (1e5, 2e5, 5e5, 1e6, 2e6, 5e6)


def found(*, largest: float = 5e6, sizes: tuple[float, ...] = (1e8, 4e8, 1.6e9)) -> CriticalBatch:
    rows = [
        (n, b, 20 * n * (1 + b / (0.5 * n**0.75)) * (1 + 0.02 * (-1) ** i), 3.5 - n / 4e9)
        for n in sizes
        for i, b in enumerate(BATCHES)
        if b <= largest
    ]
    table = pl.DataFrame(rows, schema=["params", "batch_tokens", "tokens", "loss"], orient="row")
    return critical_batch(read_runs(table, needs=("tokens", "batch_tokens", "loss")))


def texts(axes: Any) -> str:
    return " ".join(text.get_text() for legend in axes.figure.legends for text in legend.get_texts())


def test_every_run_is_a_point() -> None:
    made = found()
    left: Any = critical_batch_figure(made)
    points = [line for line in left.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata()) > 1]
    assert sorted(len(line.get_xdata()) for line in points) == [len(BATCHES)] * 3
    assert len({line.get_marker() for line in points}) == 3
    assert left.get_xlabel() == "optimizer steps to the loss"
    assert left.get_xscale() == left.get_yscale() == "log"


def test_the_star_is_twice_the_fewest() -> None:
    made = found()
    left: Any = critical_batch_figure(made)
    stars = {(line.get_xdata()[0], line.get_ydata()[0]) for line in left.get_lines() if line.get_marker() == "*"}
    inside = [h for h in made.hyperbolas if (h.critical_batch or 0) <= 5e6 * 1.25]
    assert stars == {(2 * h.min_steps, 2 * h.min_tokens) for h in inside}


def test_the_legend_has_each_group_and_what_is_open() -> None:
    made = found()
    said = texts(critical_batch_figure(made))
    for h in made.hyperbolas:
        assert f"{h.group}, loss {h.loss:.4g}" in said
    assert "its 80 % interval" in said
    open_ended = texts(critical_batch_figure(found(largest=5e5, sizes=(1.6e9,))))
    assert "open: these runs do not determine it" in open_ended


def test_pictures_are_written() -> None:
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert picture_bytes(critical_batch_figure(found()), f"a.{suffix}").startswith(start)


def test_branches_show_bounds_and_the_runs_batch() -> None:
    low = branched(1e10, 1e6, [Branch(factor=k, loss=2.6 + 0.005 * k**2, noise=0.002) for k in (1, 2, 4)])
    high = branched(1e11, 1e6, [Branch(factor=k, loss=2.5, noise=0.002) for k in (1, 2, 4)])
    axes: Any = branches_chart([low, high])
    markers = [line.get_marker() for line in axes.get_lines()]
    assert markers.count("o") == 1
    assert markers.count("^") == 1
    assert axes.get_ylabel() == "batch (tokens)"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "at least this: no larger batch was tried" in labels
    assert picture_bytes(axes, "a.png").startswith(b"\x89PNG")


def test_nothing_to_draw_is_one_sentence() -> None:
    with pytest.raises(ForescaleError, match="a picture of branches needs a checkpoint"):
        branches_chart([])
    with pytest.raises(ForescaleError, match="a picture of critical batches needs one"):
        critical_batch_figure(CriticalBatch(hyperbolas=(), law=None, source="", notes=()))
