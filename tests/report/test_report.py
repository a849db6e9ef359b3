"""Pages about fits: well-formed, self-contained, escaped, and with the fit's own numbers."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.fit import FittedLaw, evidence, fit_law
from forescale.fit.calibrate import calibrate
from forescale.fit.loss import LossFit, fit_loss_law, loss_evidence
from forescale.laws import law
from forescale.report import calibration_report, fit_report, loss_report
from forescale.runs import Runs, read_runs

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fit"))

from fit_sweeps import COLUMNS, planted
from page import Page

LOADS = ("src", "srcset", "data", "poster", "action", "background", "xlink:href")
HOSTILE = "<script>alert('x')</script>&\"$_^{}.csv"
QUICK = 50  # bootstraps


@pytest.fixture(scope="module")
def planted_runs() -> Runs:
    """A planted sweep with a cell of one setting, a cell of one batch and a diverged run."""
    extra = pl.DataFrame(
        [
            (3e9, 6e10, 1e-3, 5e5, 2.5),
            *((1.6e9, 3e10, lr, 5e5, loss) for lr, loss in ((5e-4, 2.61), (1e-3, 2.6), (2e-3, 2.62))),
            (1e8, 2e9, 0.9, 5e5, 9.9),
        ],
        schema=COLUMNS,
        orient="row",
    )
    return read_runs(pl.concat([planted((1e8, 2e8, 4e8), noise=5e-4), extra]))


@pytest.fixture(scope="module")
def fitted(planted_runs: Runs) -> FittedLaw:
    return fit_law(planted_runs, bootstraps=QUICK)


@pytest.fixture(scope="module")
def html(planted_runs: Runs, fitted: FittedLaw) -> str:
    return fit_report(planted_runs, fitted)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def hostile(planted_runs: Runs, fitted: FittedLaw) -> Page:
    """A page with every section and a hostile text wherever a text comes from outside."""
    runs = replace(planted_runs, source=HOSTILE, columns={"params": HOSTILE}, notes=(HOSTILE,))
    named = replace(
        fitted,
        law=replace(fitted.law, name=HOSTILE, title=HOSTILE, fitted_on=HOSTILE, conditions={HOSTILE: HOSTILE}),
        warnings=(HOSTILE,),
        notes=(HOSTILE,),
        runs={**fitted.runs, "source": HOSTILE},
    )
    return Page(fit_report(runs, named, law_file="it's <b>.toml"))


@pytest.fixture(scope="module")
def loss_html(loss_runs: Runs, loss_fit: LossFit) -> str:
    return loss_report(loss_runs, loss_fit)


@pytest.fixture(scope="module")
def loss_runs(data: Path) -> Runs:
    columns = {"params": "Model Size", "compute": "Training FLOP"}
    return read_runs(data / "epoch-chinchilla/svg_extracted_data.csv", columns=columns, needs=("loss",))


@pytest.fixture(scope="module")
def loss_fit(loss_runs: Runs) -> LossFit:
    return fit_loss_law(loss_runs, "chinchilla", bootstraps=QUICK)


@pytest.fixture(scope="module")
def calibration_html(planted_runs: Runs) -> str:
    return calibration_report(planted_runs, calibrate(planted_runs))


@pytest.fixture(scope="module", params=["html", "loss_html", "calibration_html"])
def either(request: pytest.FixtureRequest) -> str:
    """The text of each kind of page."""
    return request.getfixturevalue(request.param)


def test_a_page_is_well_formed(either: str) -> None:
    page = Page(either)
    assert either.startswith("<!DOCTYPE html>\n<html lang=")
    assert not page.problems
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="|url\(|aria-labelledby=")#?([\w-]+)', either):
        assert target in ids


def test_the_check_of_pages_can_fail() -> None:
    assert Page("<p><b>x</p></b>").problems
    assert Page("<div>").problems


def test_a_page_loads_nothing(either: str) -> None:
    page = Page(either)
    assert "://" not in re.sub(r"<pre.*?</pre>", "", either, flags=re.S)
    assert not page.attributes(*LOADS)
    assert all(value.startswith("#") for value in page.attributes("href"))
    assert not {"script", "iframe", "link", "img", "object", "embed", "form", "image"} & {tag for tag, _ in page.tags}
    assert not re.search(r"@import|url\((?!#)", either)
    assert "default-src 'none'" in either


def test_every_picture_says_what_it_shows_and_every_table_has_a_caption(either: str) -> None:
    page = Page(either)
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert all(attrs["role"] == "img" for attrs in pictures)
    assert either.count("<title id=") == len(pictures) > 4
    assert all(table.caption for table in page.tables)
    assert page.count("h1") == 1


def test_the_verdict_comes_first_and_holds_the_held_out_gaps(page: Page, fitted: FittedLaw) -> None:
    document = fitted.to_json()
    values = [value for value, _ in page.numbers[:2]]
    references = list(document["references"].values())
    assert values == [document["held_out"][fitted.chosen]["linear"]["mean"], references[0]["linear"]["mean"]]
    own = page.table("Loss above each cell's lowest, in per cent").values[1]
    scored = document["held_out"][fitted.chosen]
    assert own == [*(scored[r]["mean"] for r in ("nearest", "linear", "smooth")), scored["linear"]["max"]]


def test_coefficients_are_the_fits(page: Page, fitted: FittedLaw) -> None:
    rows = page.table("Coefficients, with 80 % intervals from").values[1:]
    wanted = [
        [c[key] for key in ("value", "low", "high", "stderr", "mean")]
        for said in fitted.to_json()["predicts"].values()
        for c in said["parameters"].values()
    ]
    assert rows == wanted


def test_the_held_out_table_has_every_protocol(page: Page, fitted: FittedLaw) -> None:
    document = fitted.to_json()
    scores = [*document["held_out"].values(), document["choice_held_out"], *document["references"].values()]
    table = page.table("Loss above the cell's lowest in per cent")
    wanted = [[*(s[r]["mean"] for r in ("nearest", "linear", "smooth")), s["linear"]["max"]] for s in scores]
    assert table.values[1:] == wanted
    (marked,) = (row[0] for row in table.rows if row[0].endswith("(chosen)"))
    assert marked == f"▸ {fitted.chosen} (chosen)"


def test_printed_numbers_are_their_values_rounded(either: str) -> None:
    suffixes = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    numbers = Page(either).numbers
    assert len(numbers) > 40
    for value, text in numbers:
        plain = text.removeprefix("≥ ").replace(",", "").replace("\N{MINUS SIGN}", "-")
        scale = suffixes.get(plain[-1], 1.0)
        shown = float(plain.rstrip("KMBT")) * scale
        assert shown == pytest.approx(value, rel=6e-3, abs=5.1e-3)


def test_coverage_says_what_was_left_out_and_why(page: Page, planted_runs: Runs, fitted: FittedLaw) -> None:
    table = page.table("Every cell of the runs")
    reasons = [row[-1] for row in table.rows[1:]]
    assert reasons.count("yes") == fitted.cells == 6
    assert reasons.count("no: a single setting") == 1
    assert reasons.count("no: learning rate and batch were not both swept") == 1
    assert sum(values[0] for values in table.values[1:]) == planted_runs.frame.height
    assert sum(values[1] for values in table.values[1:]) == planted_runs.diverged == 1


def test_the_law_on_the_page_is_the_law(page: Page, fitted: FittedLaw, tmp_path: Path) -> None:
    text = "".join(page.text)
    toml = text[text.index("schema_version = ") : text.index("Then plan with it")]
    (tmp_path / "law.toml").write_text(toml.strip() + "\n")
    read = law(tmp_path / "law.toml")
    assert read.predicts == fitted.law.predicts
    assert read.range == fitted.law.range


def test_what_comes_from_the_user_is_escaped(hostile: Page) -> None:
    assert not hostile.problems
    assert hostile.count("script") == 0
    assert hostile.count("b") == 0
    text = "".join(hostile.text)
    assert text.count(HOSTILE) >= 8
    assert "--law 'it'\"'\"'s <b>.toml'" in text  # as a shell takes it


def test_a_sweep_of_the_learning_rate_alone_has_no_batch() -> None:
    swept = planted((1e8, 2e8, 4e8), noise=5e-4).filter(
        pl.col("batch_tokens") == pl.col("batch_tokens").median().over("params", "tokens")
    )
    runs = read_runs(swept)
    own = fit_law(runs, bootstraps=QUICK)
    assert list(own.coefficients) == ["learning_rate"]
    page = Page(fit_report(runs, own))
    assert not page.problems
    assert not any("batch" in name for name in page.table("The measured optimum of each cell").rows[0])


def test_other_runs_than_the_fits_are_refused(fitted: FittedLaw, loss_fit: LossFit) -> None:
    other = read_runs(planted())
    with pytest.raises(ForescaleError, match="give the runs that the law was fitted to"):
        evidence(other, fitted)
    columns = {
        "params": [1e8, 2e8, 3e8, 4e8, 5e8, 6e8, 7e8, 8e8],
        "tokens": [2e9, 3e9, 4e9, 6e9, 5e9, 9e9, 7e9, 8e9],
        "loss": [3.1, 3, 2.9, 2.8, 2.7, 2.65, 2.6, 2.58],
    }
    with pytest.raises(ForescaleError, match="give the runs that the law was fitted to"):
        loss_evidence(columns, loss_fit)


def test_a_loss_page_has_the_fits_numbers(loss_html: str, loss_fit: LossFit) -> None:
    page = Page(loss_html)
    document = loss_fit.to_json()
    rows = page.table("Constants, with 80 % intervals").values[1:]
    published = [law(name).predicts["loss"].constants for name in ("chinchilla", "epoch")]
    for values, (name, p) in zip(rows, document["parameters"].items(), strict=True):
        own = [p[key] for key in ("value", "stderr", "low", "high")]
        assert values == [*own, *document["spread"][name], *(constants[name] for constants in published)]
    held = document["extrapolation"]
    errors = page.table("Error of the predicted loss in per cent").values
    assert errors[1] == [100 * document["rms"]]
    assert errors[2] == [100 * held[key] for key in ("rms", "bias", "bias_low", "bias_high")]


def test_the_dense_sweep_fits_on_a_page(data: Path) -> None:
    runs = read_runs(data / "step-law/dense_lr_bs_loss.csv", seq_len=2048)
    html = fit_report(runs, fit_law(runs, bootstraps=QUICK))
    page = Page(html)
    assert not page.problems
    assert len(html) < 2e6
    assert page.count("svg") == 1 + 1 + 13 + 6 + 1 + 4  # coverage, legend, cells, coefficients, held out, residuals
    # Step Law as published on these cells: the mean gaps that `forescale score` has (README, "How right are the laws?").
    (row,) = (r for r in page.table("Loss above each cell's lowest, in").rows if r[0] == "step-law, as published")
    assert row[1:4] == ["0.111", "0.122", "0.092"]
