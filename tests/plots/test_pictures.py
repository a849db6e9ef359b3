"""Pictures of plans and scores: what is in them, and what `--picture` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from forescale.errors import ForescaleError
from forescale.fit import CellGap, Score, Scores, make_cells, score
from forescale.fit.loss import IsoFlops, fit_isoflops
from forescale.fit.surface import fit_surface
from forescale.laws import law
from forescale.plan import Plan, Request, make_plan
from forescale.plots import isoflop_chart, plan_map, save, score_chart, surface_map
from forescale.plots._parts import spread
from forescale.runs import read_runs
from forescale.workload import Workload

LLAMA = Path(__file__).resolve().parents[2] / "examples" / "llama-3-8b" / "config.json"
DENSE = Workload(params=5e8, tokens=2e10, seq_len=2048)
PLANS = {
    "dense": (DENSE, Request()),
    "config": (Workload.from_config(LLAMA, tokens=140e9), Request()),
    "moe": (Workload(params=46e9, active_params=12.7e9, tokens=2e12, seq_len=4096), Request()),
    "user batch": (DENSE, Request(batch_tokens=2.0**21)),
    "user choice beyond the landscape": (DENSE, Request(batch_tokens=2.0**14, learning_rate=0.3)),
    "rivals beyond the frame": (replace(DENSE, params=7e9, tokens=1.4e13), Request()),
    "law without an optimum of its own": (DENSE, Request(laws=("learning_rate=kaplan",))),
}
PNG = b"\x89PNG\r\n\x1a\n"
ARGUMENTS = ("plan", "--params", "500M", "--tokens", "20B", "--seq-len", "2048")


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text)]


def choice(axes: Axes) -> tuple[float, float]:
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    return float(star.get_xdata()[0]), float(star.get_ydata()[0])


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return make_plan(*PLANS[request.param])


@pytest.fixture(scope="module")
def dense_scores(data: Path) -> Scores:
    return score(read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048))


def test_a_map_shows_the_choice_and_names_every_rival(plan: Plan, tmp_path: Path) -> None:
    axes = plan_map(plan)
    assert choice(axes) == (plan.recipe.batch_tokens.number, plan.recipe.learning_rate.number)
    shown = texts(axes)
    for rival in plan.alternatives:
        assert any(text.split(" ")[0] == rival.law for text in shown), rival.law
    save(axes, tmp_path / "plan.png")  # warnings are errors: fonts, layout
    assert (tmp_path / "plan.png").read_bytes().startswith(PNG)


def test_labels_in_the_margin_are_in_the_picture_and_do_not_overlap(plan: Plan) -> None:
    axes = plan_map(plan)
    axes.figure.draw_without_rendering()
    rivals = {each.law for each in plan.alternatives}
    # Text alone: an annotation counts its arrow in.
    boxes = [Text.get_window_extent(text) for text in axes.texts if text.get_text().split(" ")[0] in rivals]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == len(rivals)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    assert all(box.x1 <= axes.figure.bbox.x1 for box in boxes)
    assert all(box.x0 >= axes.get_window_extent().x1 for box in boxes)


def test_a_map_states_workload_units_and_landscape() -> None:
    axes = plan_map(make_plan(*PLANS["moe"]))
    assert axes.get_title(loc="left") == (
        "Plan for 46B non-vocabulary parameters (12.7B active), 2T tokens, sequences of 4096"
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch (tokens per step)", "peak learning rate")
    bar = axes.figure.axes[1]
    assert bar.get_xlabel().startswith("expected loss above the optimum (%): landscape of step-law-moe")


def test_the_interval_is_drawn_where_there_is_one() -> None:
    made = make_plan(DENSE)
    rate = made.recipe.learning_rate
    (bars,) = plan_map(made).containers
    _, (_, upright) = bars.lines[1], bars.lines[2]
    assert upright.get_segments()[0][:, 1] == pytest.approx([rate.low, rate.high])
    (none,) = plan_map(make_plan(DENSE, Request(batch_tokens=2.0**19, learning_rate=1e-3))).containers
    assert not none.lines[2]


def test_pictures_go_into_axes_of_your_own(dense_scores: Scores) -> None:
    figure = Figure(figsize=(18, 8), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plan_map(make_plan(DENSE), left) is left
    assert score_chart(dense_scores, right) is right
    figure.draw_without_rendering()


def test_a_rival_without_a_value_is_still_named() -> None:
    made = make_plan(DENSE)
    silent = replace(made.alternatives[0], learning_rate=None, batch_tokens=None, loss_gap_percent=None)
    assert f"{silent.law}: no value here" in texts(plan_map(replace(made, alternatives=(silent,))))


def test_a_chart_has_a_row_a_score_and_a_dot_a_cell(dense_scores: Scores) -> None:
    axes = score_chart(dense_scores)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    means = [each.smooth.mean for each in dense_scores.laws]
    assert [row.split(" ")[0] for row in rows[: len(means)]] == [each.name for each in dense_scores.laws]
    assert means == sorted(means)
    assert len(rows) == len(means) + len(dense_scores.baselines) + 1
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == len(rows) * dense_scores.cells
    assert "dense_lr_bs_loss.csv, 13 cells" in axes.get_title(loc="left")


def test_a_chart_says_what_is_given_clipped_and_fitted_on_these_runs(dense_scores: Scores) -> None:
    axes = score_chart(dense_scores)
    shown = texts(axes)
    for words in ("kaplan (given best batch)", "schaipp (given best lr)", "minicpm (given best lr and lowest loss)"):
        assert words in shown
    kaplan = next(each for each in dense_scores.laws if each.name == "kaplan")
    assert f"≥ {100 * kaplan.smooth.mean:.3f}" in shown
    is_open = [line for line in axes.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    scored = (*dense_scores.laws, *dense_scores.baselines, dense_scores.floor)
    assert sum(len(line.get_xdata()) for line in is_open) == sum(each.clipped for each in scored)
    assert "steplaw-refit was fitted on" in axes.get_xlabel()


def test_a_chart_of_one_cell_and_one_law_without_a_gap(tmp_path: Path) -> None:
    gap = CellGap(
        params=1e8,
        active_params=1e8,
        tokens=1e10,
        learning_rate=1e-3,
        batch_tokens=1e5,
        nearest=0.0,
        linear=0.0,
        smooth=0.0,
        clipped=False,
    )
    floor = Score(name="floor", title="floor", gaps=(gap,))
    law = replace(floor, name="price_$1_to_$2")
    source = {"source": "a_$file$_of_$runs$.csv"}
    scores = Scores(laws=(law,), baselines=(), floor=floor, cells=1, not_applicable={}, notes=(), runs=source)
    axes = score_chart(scores)
    save(axes, tmp_path / "scores.png")
    assert axes.get_title(loc="left").startswith("a_$file$_of_$runs$.csv, 1 cell:")


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", PNG), ("a.PNG", PNG), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")], ids=str
)
def test_the_suffix_says_the_format(run: Any, tmp_path: Path, name: str, start: bytes) -> None:
    assert run(*ARGUMENTS, "--picture", tmp_path / name)[0] == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_standard_output_stays_json(run: Any, tmp_path: Path, data: Path) -> None:
    code, out, _ = run(*ARGUMENTS, "--json", "--picture", tmp_path / "plan.png")
    assert (code, json.loads(out)["schema_version"]) == (0, 1)
    assert "terrain" not in json.loads(out)
    sweep = data / "step-law/dense_lr_bs_loss.csv"
    code, out, _ = run("score", sweep, "--seq-len", "2048", "--json", "--picture", tmp_path / "scores.png")
    assert (code, json.loads(out)["cells"]) == (0, 13)
    assert (tmp_path / "scores.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["plan.jpg", "plan", ".png"])
def test_another_suffix_is_refused_before_any_work(run: Any, tmp_path: Path, name: str) -> None:
    code, out, err = run(*ARGUMENTS, "--picture", tmp_path / name)
    assert (code, out) == (2, "")
    assert err.endswith(f"a picture is a .png, .svg or .pdf file; got {tmp_path / name}.\n")
    assert run("score", tmp_path / "missing.csv", "--picture", tmp_path / name)[2] == err
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_one_sentence(run: Any, tmp_path: Path) -> None:
    code, _, err = run(*ARGUMENTS, "--picture", tmp_path / "none" / "plan.png")
    assert code == 2
    assert err.splitlines()[-1].endswith(
        "plan.png cannot be written: there is no folder " + str(tmp_path / "none") + "."
    )
    with pytest.raises(ForescaleError, match="cannot be written"):
        save(plan_map(make_plan(DENSE)), tmp_path / "none" / "plan.svg")


def test_no_picture_where_the_command_fails(run: Any, tmp_path: Path) -> None:
    arguments = ("--export", "torchtitan", "--out", tmp_path / "none" / "config.py")
    assert run(*ARGUMENTS, *arguments, "--picture", tmp_path / "plan.png")[0] == 2
    assert not list(tmp_path.iterdir())


def test_spread_keeps_order_and_distance_below_the_top() -> None:
    places = spread([0.0, 0.5, 0.5, 0.5, 0.99, 1.0], 0.1)
    assert all(b - a >= 0.1 - 1e-12 for a, b in pairwise(places))
    assert places[-1] <= 1
    assert places[1:4] == pytest.approx([0.4, 0.5, 0.6])
    assert spread([0.2, 0.7], 0.1) == [0.2, 0.7]
    assert spread([], 0.1) == []


def test_a_surface_shows_contours_runs_edge_and_choice(data: Path) -> None:
    runs = read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048)
    surface = fit_surface(runs)
    cell = make_cells(runs).cells[6]
    axes = surface_map(surface, cell)
    best = surface.best(cell.params, cell.tokens)
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((best.learning_rate, best.batch_tokens))
    shown = texts(axes)
    for words in ("peak learning rate", "batch (tokens)", "half of the runs diverge", "measured loss gap (%)"):
        assert words in shown or any(words in text for part in axes.figure.axes for text in texts(part))
    assert "Loss gap at N = 429M, D = 8B" in shown
    given = Figure().add_subplot()
    assert surface_map(surface, (7e9, 1.4e11), given) is given
    assert "beyond the runs fitted: params x6.52" in given.get_title(loc="left")


@pytest.fixture(scope="module")
def isoflops() -> IsoFlops:
    C = np.repeat(np.geomspace(1e19, 1e21, 5), 8)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.2, 2, 8), 5)
    loss = law("epoch").predict("loss", params=N, tokens=C / (6 * N))
    return fit_isoflops({"params": N, "compute": C, "loss": loss}, "additive", bootstraps=20)


def test_an_iso_flop_chart_has_a_curve_a_parabola_and_two_optima_a_budget(isoflops: IsoFlops, tmp_path: Path) -> None:
    axes = isoflop_chart(isoflops, source="runs_$1_to_$2.csv")
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(solid) == len(dashed) == len(isoflops.budgets)
    optima = {mark: [line for line in axes.lines if line.get_marker() == mark] for mark in "oD"}
    for budget, filled, opened in zip(
        isoflops.budgets, [line for line in optima["o"] if len(line.get_xdata()) == 1], optima["D"], strict=True
    ):
        assert filled.get_xdata()[0] == budget.law.params.value
        assert budget.parabola is not None
        assert opened.get_xdata()[0] == budget.parabola.params.value
    shown = texts(axes)
    assert all(f"{budget.compute:.2g} FLOPs" in shown for budget in isoflops.budgets)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("parameters", "loss (nats per token)")
    assert axes.get_title(loc="left").startswith("runs_$1_to_$2.csv, 5 compute budgets")
    save(axes, tmp_path / "isoflops.svg")


def test_an_iso_flop_chart_goes_into_axes_of_your_own(isoflops: IsoFlops) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    assert isoflop_chart(replace(isoflops, budgets=isoflops.budgets[:1], law=None, parabola=None), axes) is axes
    assert axes.get_title(loc="left") == "1 compute budget"
    figure.draw_without_rendering()
