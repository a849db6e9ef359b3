"""The page of a calibration: the calibration's own numbers, on sweeps of any kind."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.fit.calibrate import Calibration, calibrate, calibration_evidence, expected_gaps, suggest
from forescale.report import calibration_report
from forescale.runs import Runs, read_runs

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit"))

from fit_sweeps import COLUMNS, planted
from page import Page

HOSTILE = "<script>alert('x')</script>&\"$_^{}.csv"


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Six sweeps of both, one of learning rates, a setting alone, and a cell that diverged."""
    extra = [
        (3e9, 6e10, 1e-3, 5e5, 2.5),
        *((1.6e9, 3e10, lr, 5e5, loss) for lr, loss in ((5e-4, 2.61), (1e-3, 2.6), (2e-3, 2.62))),
        *((5e7, 1e9, lr, 1e5, math.inf) for lr in (0.1, 0.2)),
    ]
    swept = planted((1e8, 2e8, 4e8), noise=5e-4)
    return read_runs(pl.concat([swept, pl.DataFrame(extra, schema=COLUMNS, orient="row")]))


@pytest.fixture(scope="module")
def found(runs: Runs) -> Calibration:
    return calibrate(runs)


@pytest.fixture(scope="module")
def page(runs: Runs, found: Calibration) -> Page:
    return Page(calibration_report(runs, found))


def test_the_verdict_comes_first_with_the_gap_to_expect_and_the_held_out_gaps(page: Page, found: Calibration) -> None:
    costs = {s.name: s.linear.mean for s in (*found.held_out, *found.references)}
    scored = [costs[name] for name in ("calibrated", "step-law, as published", "prior alone")]
    wanted = [100 * gap for gap in (found.after.loss_gap, found.before.loss_gap, *scored)]
    assert [value for value, _ in page.numbers[:5]] == wanted
    table = page.table("What is known of the optimum")
    rate, batch = (
        [getattr(seen, q) for seen in (found.before, found.after)] for q in ("learning_rate", "batch_tokens")
    )
    assert table.values[1:3] == [[v for e in both for v in (e.value, e.low, e.high)] for both in (rate, batch)]
    held_out = page.table("Loss above each cell's lowest")
    assert [row[0] for row in held_out.rows[1:]] == [s.name for s in (*found.held_out, *found.references)]
    assert [row[4] for row in held_out.values[1:]] == [len(s.gaps) for s in (*found.held_out, *found.references)]


def test_the_choice_is_what_the_law_predicts(page: Page, found: Calibration) -> None:
    for row, (quantity, formula) in zip(
        page.table("The choice at").values[1:], found.law.predicts.items(), strict=True
    ):
        assert row[2] == formula.caution
        assert row[3] == pytest.approx(
            found.law.predict(quantity, params=found.at.params, tokens=found.at.tokens), rel=1e-9
        )
    octaves, gap = expected_gaps(found).choice()
    assert 2**octaves == pytest.approx(found.law.predicts["learning_rate"].caution, rel=1e-9)
    assert gap == pytest.approx(100 * found.after.loss_gap, rel=1e-9)


def test_the_known_curve_is_nothing_at_the_estimate_and_always_below(found: Calibration) -> None:
    curve = expected_gaps(found)
    assert np.interp(0, curve.octaves, curve.known) == pytest.approx(0, abs=1e-4)
    near = np.abs(curve.octaves) < 1
    assert (curve.expected[near] > curve.known[near]).any()
    assert curve.expected.min() > curve.known.min()


def test_coefficients_are_the_calibrations(page: Page, found: Calibration) -> None:
    wanted = [
        [side[i] for side in (c.prior, c.posterior) for i in (0, 2, 3, 1)]
        for said in found.coefficients.values()
        for c in said.values()
    ]
    assert page.table("Coefficients before and after").values[1:] == wanted


def test_every_cell_says_what_it_was_read_as(page: Page, runs: Runs) -> None:
    table = page.table("Every cell of the runs")
    read_as = [row[-1] for row in table.rows[1:]]
    assert read_as.count("a sweep of both") == 6
    assert sorted(set(read_as) - {"a sweep of both"}) == [
        "a setting thought good",
        "a sweep of learning rates at one batch",
        "rates above the best",
    ]
    assert sum(values[0] for values in table.values[1:]) == runs.frame.height
    assert sum(values[1] for values in table.values[1:]) == runs.diverged == 2
    cells = page.table("The measured optimum of each cell").rows[1:]
    assert len(cells) == 7
    assert [row[6] for row in cells].count("not swept") == 1


def test_evidence_has_the_scores_of_the_calibration(runs: Runs, found: Calibration) -> None:
    shown = calibration_evidence(runs, found)
    assert [cell.held_out for cell in shown.cells] == list(found.held_out[0].gaps)
    assert [cell.published for cell in shown.cells] == list(found.references[1].gaps)
    assert found.references[1].name == "step-law, as published"
    alone = next(cell for cell in shown.cells if not cell.cell.spread[1])
    assert alone.choice.batch_tokens == pytest.approx(5e5)  # its own batch
    for quantity in ("learning_rate", "batch_tokens"):
        own, prior, *labs = (r for r in shown.readings if r.quantity == quantity)
        for reading, seen in ((own, found.after), (prior, found.before)):
            estimate = getattr(seen, quantity)
            assert (reading.value.value, reading.value.low) == pytest.approx((estimate.value, estimate.low), rel=1e-9)
        learnt = found.coefficients[quantity]["tokens"]
        assert (own.slopes["tokens"].value, own.slopes["tokens"].high) == pytest.approx(
            (learnt.posterior[0], learnt.posterior[3]), rel=1e-9
        )
        assert {lab.name for lab in labs} <= {lab.name for lab in found.prior.labs}


def test_labs_have_their_published_exponents(runs: Runs, found: Calibration) -> None:
    readings = {(r.name, r.quantity): r for r in calibration_evidence(runs, found).readings}
    rate, batch = (readings["Step Law", q] for q in ("learning_rate", "batch_tokens"))
    # 2503.04715: rate 1.79 N^-0.713 D^0.307, batch 0.58 D^0.571. The lab's cells are read with other methods and a prior.
    assert rate.slopes["params"].low < -0.713 < rate.slopes["params"].high
    assert rate.slopes["tokens"].low < 0.307 < rate.slopes["tokens"].high
    assert batch.slopes["tokens"].low < 0.571 < batch.slopes["tokens"].high
    # DeepSeek's law is one of compute (2401.02954): N and D by themselves are not told apart.
    assert not readings["DeepSeek", "learning_rate"].slopes


def test_what_to_run_next_is_what_suggest_says(page: Page, runs: Runs, found: Calibration) -> None:
    made = suggest(found.at, 0.01 * found.at.compute, runs=runs, seq_len=found.at.seq_len)
    cells = page.table("Cells to run").values[1:]
    assert cells == [[len(c.runs), c.compute, 100 * c.loss_gap] for c in made.cells]
    assert page.table("The runs of these cells").values[1:] == [
        [run.learning_rate, run.batch_tokens, run.compute] for run in made.runs
    ]


def test_a_budget_that_buys_nothing_says_so() -> None:
    tiny = [(2e5, 4e6, lr, 4096.0, loss) for lr, loss in ((5e-3, 5.1), (1e-2, 5.0), (2e-2, 5.2))]
    runs = read_runs(pl.DataFrame(tiny, schema=COLUMNS, orient="row"))
    page = Page(calibration_report(runs, calibrate(runs)))
    assert not page.problems
    assert "buys no sweep for this target" in "".join(page.text)


def test_runs_that_contradict_the_prior_are_warned_of_before_anything_else() -> None:
    off = planted((1e8, 2e8)).with_columns(pl.col("learning_rate") * 100)
    runs = read_runs(off)
    found = calibrate(runs)
    assert found.widened > 1
    text = "".join(Page(calibration_report(runs, found)).text)
    assert text.index("contradict the published prior (chi-squared") < text.index("What is known of the optimum")
    assert f"widened {found.widened:.3g} times" in text


def few(kind: str) -> pl.DataFrame:
    cell = planted((1e8,), (20.0,), noise=5e-4)
    batch = cell["batch_tokens"].unique().sort()[3]
    return {
        "ten runs": lambda: cell.sample(10, seed=0),
        "two runs": lambda: cell.sample(2, seed=1),
        "one batch": lambda: cell.filter(pl.col("batch_tokens") == batch),
        "one rate": lambda: cell.filter(pl.col("learning_rate") == cell["learning_rate"].unique().sort()[4]),
        "a diagonal": lambda: cell.unique("batch_tokens", keep="first", maintain_order=True).with_columns(
            learning_rate=pl.col("batch_tokens") * 1e-8
        ),
        "one setting": lambda: cell.head(1),
        "one trained": lambda: cell.head(4).with_columns(
            loss=pl.when(pl.int_range(pl.len()) == 0).then(pl.col("loss")).otherwise(math.inf)
        ),
        "all diverged": lambda: cell.head(4).with_columns(loss=pl.lit(math.inf)),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "panels"),
    [
        ("ten runs", 1),
        ("two runs", 1),
        ("one batch", 1),
        ("one rate", 1),
        ("a diagonal", 1),
        ("one setting", 0),
        ("one trained", 0),
        ("all diverged", 0),
    ],
)
def test_a_page_on_very_few_runs(kind: str, panels: int) -> None:
    runs = read_runs(few(kind))
    page = Page(calibration_report(runs, calibrate(runs)))
    assert not page.problems
    assert ("landscape" in page.attributes("id")) is bool(panels)
    assert "no cell could be left out" in " ".join("".join(page.text).split())
    assert not any(math.isnan(value) or math.isinf(value) for value, _ in page.numbers)


def test_what_comes_from_the_user_is_escaped(runs: Runs, found: Calibration) -> None:
    named = replace(runs, source=HOSTILE, columns={"params": HOSTILE})
    law = replace(found.law, name=HOSTILE, title=HOSTILE, conditions={HOSTILE: HOSTILE})
    told = replace(found, law=law, warnings=(HOSTILE,), notes=(HOSTILE,), runs={**found.runs, "source": HOSTILE})
    page = Page(calibration_report(named, told, law_file="it's <b>.toml"))
    assert not page.problems
    assert page.count("script") == 0
    assert page.count("b") == 0
    assert "".join(page.text).count(HOSTILE) >= 8


def test_other_runs_than_the_calibrations_are_refused(found: Calibration) -> None:
    with pytest.raises(ForescaleError, match="give the runs that it was calibrated on"):
        calibration_report(read_runs(planted((1e8,))), found)


@pytest.mark.slow
def test_the_dense_sweep_on_a_page(data: Path) -> None:
    runs = read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048)
    html = calibration_report(runs, calibrate(runs))
    page = Page(html)
    assert not page.problems
    assert len(html) < 2e6
    assert (
        page.count("svg") == 2 + 1 + 1 + 4 + 1 + 1 + 13 + 4
    )  # values, held out, choice, slopes, data, legend, cells, residuals
    # Step Law as published on these cells: the mean gaps that `forescale score` has (README, "How right are the laws?").
    (row,) = (r for r in page.table("Loss above each cell's lowest, in").rows if r[0] == "step-law, as published")
    assert row[1:4] == ["0.111", "0.122", "0.092"]
    assert "published Step Law is by the authors of the runs" in "".join(page.text)
