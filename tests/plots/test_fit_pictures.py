"""Pictures of fits: what stands on their axes, and that they show the fit's numbers."""

from __future__ import annotations

import sys
from math import log2
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from forescale.fit import Evidence, FittedLaw, evidence, fit_law
from forescale.fit.loss import LossEvidence, LossFit, fit_loss_law, loss_evidence
from forescale.plots import (
    coverage_map,
    held_out_chart,
    inline_svg,
    landscape_legend,
    landscape_map,
    landscape_maps,
    loss_constants_chart,
    loss_fit_chart,
    loss_residual_chart,
    residual_chart,
    save,
    slope_chart,
    value_chart,
)
from forescale.plots._parts import log_axis, new_axes, round_numbers
from forescale.runs import read_runs

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit"))

from fit_sweeps import LR, optimum, planted

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def fit() -> tuple[FittedLaw, Evidence]:
    runs = read_runs(planted((1e8, 2e8, 4e8)))
    fitted = fit_law(runs, bootstraps=50)
    return fitted, evidence(runs, fitted)


@pytest.fixture(scope="module")
def loss() -> tuple[LossFit, LossEvidence]:
    # Chinchilla's law with Besiroglu's constants, exactly: every residual is 0.
    N, D = (a.ravel() for a in np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10]))
    runs = {"params": N, "tokens": D, "loss": 1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658}
    fitted = fit_loss_law(runs, "chinchilla", bootstraps=20)
    return fitted, loss_evidence(runs, fitted)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text)]


def marked(axes: Axes, marker: str) -> list[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_coverage_has_a_circle_a_cell_with_its_number_of_runs(fit: tuple[FittedLaw, Evidence]) -> None:
    _, shown = fit
    axes = coverage_map(shown.coverage)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens D", "parameters N (non-vocabulary)")
    (circles,) = axes.collections
    assert sorted(map(tuple, circles.get_offsets().tolist())) == sorted((c.tokens, c.params) for c in shown.coverage)
    assert texts(axes).count("63") == len(shown.coverage)  # 9 learning rates x 7 batches


def test_a_landscape_shows_choice_and_optimum_where_they_are(fit: tuple[FittedLaw, Evidence]) -> None:
    _, shown = fit
    cell = shown.cells[0]
    axes = landscape_map(cell)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch (tokens per step)", "peak learning rate")
    assert axes.get_title(loc="left").startswith("N = 100M, D = 2B\nlaw ")
    rate, batch = optimum(1e8, 2e9)  # of the planted law
    (circle,) = marked(axes, "o")
    assert circle == pytest.approx((batch, rate), rel=0.05)
    assert (cell.choice.batch_tokens, cell.choice.learning_rate) in marked(axes, "*")
    assert len(marked(axes, "*")) == 2  # the law's and that of the law without the cell
    assert marked(axes, "D") == [(cell.published.batch_tokens, cell.published.learning_rate)]
    assert len(marked(axes, ".")) == len(cell.cell.points)


def test_contours_lie_where_the_planted_bowl_has_them(fit: tuple[FittedLaw, Evidence]) -> None:
    _, shown = fit
    (lines,) = (c for c in landscape_map(shown.cells[0]).collections if c.get_linestyle() and not c.get_fill())
    assert list(lines.levels) == [0.25, 1.0, 3.0]
    rate, batch = optimum(1e8, 2e9)
    for level, path in zip((0.25, 1.0), lines.get_paths(), strict=False):
        u, v = np.log2(path.vertices[:, 1] / rate), np.log2(path.vertices[:, 0] / batch)
        gaps = 100 * np.expm1(0.003 * u * u + 0.003 * v * v - 0.002 * u * v)  # fit_sweeps.planted
        assert gaps == pytest.approx(level, rel=0.15)


def test_a_sweep_along_one_line_is_a_curve() -> None:
    swept = planted((1e8, 2e8, 4e8))
    runs = read_runs(swept.filter(pl.col("batch_tokens").rank("dense").over("params", "tokens") == 4))
    shown = evidence(runs, fit_law(runs, bootstraps=50))
    axes = landscape_map(shown.cells[0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("peak learning rate", "loss above the lowest (%)")
    (circle,) = marked(axes, "o")
    assert circle[0] == pytest.approx(optimum(1e8, 2e9)[0], rel=0.05)


def test_many_landscapes_make_one_figure(fit: tuple[FittedLaw, Evidence], tmp_path: Path) -> None:
    _, shown = fit
    figure = landscape_maps(shown.cells, columns=3)
    assert len(figure.axes) == len(shown.cells) + 1
    assert "the law's choice" in texts(figure.axes[-1])
    save(figure, tmp_path / "cells.png")
    assert (tmp_path / "cells.png").read_bytes().startswith(PNG)
    mine = Figure(layout="constrained")
    assert landscape_maps(shown.cells[:1], mine) is mine


def test_the_legend_names_every_sign() -> None:
    shown = " ".join(texts(landscape_legend()))
    for words in ("the law's choice", "measured optimum", "Step Law", "0.25 %", "1 %", "3 %", "a run"):
        assert words in shown


def test_slopes_are_the_fits_coefficients_and_the_published_exponents(fit: tuple[FittedLaw, Evidence]) -> None:
    fitted, shown = fit
    axes = slope_chart(shown.readings, "learning_rate", "params")
    assert axes.get_xlabel() == "exponent of N in the peak learning rate"
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "this law"
    assert marked(axes, "*")[0] == (fitted.coefficients["learning_rate"]["params"].value, 0)
    published = dict(zip(names, (x for x, _ in [(0, 0), *marked(axes, "o")]), strict=True))
    # Step Law, 2503.04715: N^-0.713. DeepSeek, 2401.02954: C^-0.125 with C = 6 N D, so -0.125 in N.
    assert published["step-law"] == pytest.approx(-0.713, abs=1e-6)
    assert published["deepseek"] == pytest.approx(-0.125, abs=1e-6)


def test_values_are_those_of_the_laws_in_the_middle_of_the_sweep(fit: tuple[FittedLaw, Evidence]) -> None:
    _, shown = fit
    axes = value_chart(shown.readings, "batch_tokens", shown.middle)
    # Sizes 1, 2, 4 e8 and 20 and 60 tokens a parameter: geometric means 2e8 and 2e8 sqrt(1200).
    assert shown.middle.params == pytest.approx(2e8)
    assert shown.middle.tokens == pytest.approx(2e8 * 1200**0.5)
    assert axes.get_xlabel().startswith("batch (tokens per step) at N = 200M, D = 6.93B")
    names = [label.get_text() for label in axes.get_yticklabels()]
    step_law = dict(zip(names[1:], (x for x, _ in marked(axes, "o")), strict=True))["step-law"]
    assert step_law == pytest.approx(0.58 * shown.middle.tokens**0.571, rel=1e-9)  # 2503.04715


@pytest.mark.parametrize(("variable", "label"), [("params", "parameters N"), ("tokens", "tokens D")])
def test_residuals_are_octaves_between_choice_and_optimum(
    fit: tuple[FittedLaw, Evidence], variable: str, label: str
) -> None:
    _, shown = fit
    axes = residual_chart(shown.cells, "learning_rate", variable)
    assert axes.get_xlabel() == label
    assert axes.get_ylabel() == "learning rate: choice over optimum (octaves)"
    heights = {y for _, y in marked(axes, "*")}
    for cell in shown.cells:
        assert log2(cell.choice.learning_rate / cell.optimum[0]) in heights
    assert max(abs(h) for h in heights) < 0.1  # the planted law is exact; a mesh finds the optimum


def test_an_optimum_on_the_edge_is_a_grey_square() -> None:
    swept = planted((1e8, 2e8, 4e8)).filter(
        (pl.col("params") < 4e8) | (pl.col("learning_rate") >= 0.999 * optimum_of(pl.col("params"), pl.col("tokens")))
    )
    runs = read_runs(swept)
    shown = evidence(runs, fit_law(runs, bootstraps=50))
    assert [cell.cell.on_edge for cell in shown.cells] == [False] * 4 + [True] * 2
    assert len(marked(residual_chart(shown.cells, "learning_rate", "params"), "s")) == 2


def optimum_of(params: pl.Expr, tokens: pl.Expr) -> pl.Expr:
    """The planted law's learning rate (fit_sweeps.LR)."""
    constant, a, b = LR
    return constant * params**a * tokens**b


def test_held_out_gaps_have_a_row_a_protocol_and_a_mark_on_the_chosen(fit: tuple[FittedLaw, Evidence]) -> None:
    fitted, _ = fit
    axes = held_out_chart(fitted)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[: len(fitted.held_out)] == [
        f"> {s.name}" if s.name == fitted.chosen else s.name for s in fitted.held_out
    ]
    assert "(%, linear reading" in axes.get_xlabel()
    means = [x for x, _ in marked(axes, "|")]
    assert means[0] == pytest.approx(100 * fitted.held_out[0].linear.mean)


def test_an_exact_loss_law_has_no_residuals(loss: tuple[LossFit, LossEvidence]) -> None:
    _, shown = loss
    axes = loss_residual_chart(shown, "compute")
    assert axes.get_xlabel() == "compute C (FLOPs)"
    assert axes.get_ylabel() == "predicted over measured loss − 1 (%)"
    dots = marked(axes, "o")
    assert len(dots) == 16
    assert sorted(x for x, _ in dots) == pytest.approx(sorted(6 * shown.inputs["params"] * shown.inputs["tokens"]))
    assert max(abs(y) for _, y in dots) < 1e-4
    assert shown.held_out.sum() == 3  # of 16, the most expensive fifth


def test_fitted_against_measured_loss(loss: tuple[LossFit, LossEvidence]) -> None:
    axes = loss_fit_chart(loss[1])
    assert axes.get_xlabel() == "measured loss (nats per token)"
    assert axes.get_ylabel() == "predicted loss (nats per token)"
    assert all(y == pytest.approx(x, rel=1e-6) for x, y in marked(axes, "o"))


def test_constants_are_multiples_of_their_fitted_values(loss: tuple[LossFit, LossEvidence]) -> None:
    fitted, shown = loss
    axes = loss_constants_chart(fitted, shown.published)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["E", "A", "B", "alpha", "beta"]
    assert axes.get_xlabel() == "constant, as a multiple of its fitted value"
    ratios = [x for x, _ in marked(axes, "^")]  # the catalog's second law of this form, Epoch's: the planted constants
    assert list(shown.published) == ["chinchilla", "epoch"]
    assert ratios == pytest.approx([1.0] * 5, rel=1e-3)


def test_a_picture_in_a_page_shares_no_id_and_keeps_its_labels() -> None:
    axes = new_axes(2, 2)
    axes.set_title('url(#a) <b>"&" id="x"', parse_math=False)
    axes.plot([0, 1], [0, 1], marker="o")
    svg = inline_svg(axes, "one")
    root = ElementTree.fromstring(svg)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert ids
    assert all(each.startswith("one-") for each in ids)
    assert 'url(#a) <b>"&" id="x"' in "".join(root.itertext())
    assert "://" not in svg
    assert not {*ids} & set(inline_svg(axes, "two").split('"'))


@pytest.mark.parametrize("span", [(1e-4, 1e-1), (2.1, 2.3), (65e3, 4e6), (3e8, 3.1e8), (1e3, 1e22), (5.2e4, 1.31e6)])
def test_an_axis_has_a_few_round_ticks_inside_it(span: tuple[float, float]) -> None:
    axes = new_axes(3, 3)
    log_axis(axes.xaxis, "{:g}".format, span)
    ticks = axes.get_xticks()
    assert 2 <= len(ticks) <= 5
    assert all(span[0] <= tick <= span[1] for tick in ticks)


def test_round_numbers() -> None:
    assert round_numbers(0.9, 60, (1, 2, 5)) == [1, 2, 5, 10, 20, 50]
