"""What a sweep cannot say is a sentence, never a silent answer."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from fit_sweeps import SIZES, optimum, planted

from forescale.errors import ForescaleError
from forescale.fit import fit_law
from forescale.runs import read_runs

RATE, BATCH, LOSS = pl.col("learning_rate"), pl.col("batch_tokens"), pl.col("loss")
CELL = ("params", "tokens")


def one_rate(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.all_horizontal(RATE.rank("dense").over(CELL) == 5))


def below_the_optimum(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(RATE.rank("dense").over(CELL) <= 3)


REFUSED: dict[str, tuple[Callable[[], pl.DataFrame], str]] = {
    "one cell": (lambda: planted((1e8,), (20.0,)), "one cell says nothing"),
    "one learning rate": (lambda: one_rate(planted()), "two learning rates"),
    "all diverged": (lambda: planted().with_columns(loss=pl.lit(float("inf"))), "diverged"),
    "nothing learnt": (lambda: planted().with_columns(loss=LOSS + 8), "lowest loss in the data frame is 1.* guessing"),
    "all on the edge": (lambda: below_the_optimum(planted()), "in every cell .* on the edge"),
    "fewer cells than coefficients": (lambda: planted((1e8, 2e8), (20.0, 60.0)).filter(~CORNER), "3 cells for 3 coeff"),
}
CORNER = (pl.col("params") == 2e8) & (pl.col("tokens") > 1e10)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case: str) -> None:
    table, reason = REFUSED[case]
    with pytest.raises(ForescaleError, match=reason) as caught:
        fit_law(read_runs(table()))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_some_on_the_edge_are_named() -> None:
    table = planted()
    cut = pl.when(pl.col("params") == 1e8).then(RATE.rank("dense").over(CELL) <= 3).otherwise(pl.lit(value=True))
    fitted = fit_law(read_runs(table.filter(cut)), bootstraps=50)
    assert [w.split(" lies")[0] for w in fitted.warnings[:2]] == [
        "the best run of N = 100M, D = 2B",
        "the best run of N = 100M, D = 6B",
    ]


def test_one_size_leaves_the_exponent_of_params_out() -> None:
    fitted = fit_law(read_runs(planted((1e8,), (10.0, 20.0, 40.0, 80.0))), bootstraps=200)
    assert list(fitted.law.predicts["learning_rate"].exponents) == ["tokens"]
    assert fitted.law.range["params"] == (1e8, 1e8)
    assert "params is 100M in every cell" in fitted.warnings[0]
    assert "tokens_per_param" not in fitted.law.range


def test_one_token_count_leaves_the_exponent_of_tokens_out() -> None:
    cells = [planted((size,), (1e10 / size,)) for size in SIZES]
    fitted = fit_law(read_runs(pl.concat(cells)), bootstraps=200)
    assert {tuple(f.exponents) for f in fitted.law.predicts.values()} == {("params",)}
    with pytest.raises(ForescaleError, match="the batch cannot depend on tokens"):
        fit_law(read_runs(pl.concat(cells)), protocol="step-law")


def test_a_fixed_ratio_is_said_and_bounds_the_range() -> None:
    fitted = fit_law(read_runs(planted(ratios=(20.0,))), bootstraps=200)
    assert list(fitted.law.predicts["learning_rate"].exponents) == ["params"]
    assert "cannot be told apart" in fitted.warnings[0]
    assert fitted.law.range["tokens_per_param"] == (20.0, 20.0)


def test_a_batch_that_was_not_swept_gives_a_law_of_the_learning_rate() -> None:
    table = planted().filter(BATCH.rank("dense").over(CELL) == 4)
    fitted = fit_law(read_runs(table), bootstraps=200)
    assert list(fitted.law.predicts) == ["learning_rate"]
    assert "the batch was swept in no cell" in fitted.warnings[0]
    assert fitted.law.predicts["learning_rate"].exponents == pytest.approx({"params": -0.75, "tokens": 0.25}, abs=1e-3)


def test_repeated_runs_are_counted_with_their_spread() -> None:
    table = planted()
    again = table.head(3).with_columns(loss=LOSS * 1.01)
    fitted = fit_law(read_runs(pl.concat([table, again])), bootstraps=50)
    assert any(note.startswith("3 settings were run more than once") and "1 %" in note for note in fitted.warnings)


def test_a_batch_in_sequences_without_steps_to_tell_it_is_suspected() -> None:
    fitted = fit_law(read_runs(planted().with_columns(batch_tokens=BATCH / 2048)), bootstraps=50)
    assert any("if the column counts sequences, say --columns batch_sequences=" in w for w in fitted.warnings)
    assert not any("sequences" in w for w in fit_law(read_runs(planted()), bootstraps=50).warnings)


def test_a_learning_rate_in_other_units_is_suspected() -> None:
    fitted = fit_law(read_runs(planted().with_columns(learning_rate=RATE * 1e4)), bootstraps=50)
    assert any("which no optimizer of ours takes: check its units" in w for w in fitted.warnings)


def test_a_law_that_buys_nothing_says_so() -> None:
    # One optimum for every cell: a constant setting is perfect, and noise is all that a law can add.
    rate, batch = optimum(2e8, 8e9)
    shifted = planted(noise=2e-3).with_columns(
        learning_rate=RATE / RATE.median().over(CELL) * rate, batch_tokens=BATCH / BATCH.median().over(CELL) * batch
    )
    fitted = fit_law(read_runs(shifted), protocol="argmin", bootstraps=50)
    assert any("one constant setting" in warning and "buys nothing" in warning for warning in fitted.warnings)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"protocol": "mean"}, "no protocol is named 'mean'; there are auto, step-law"),
        ({"protocol": "bowl", "batch_inputs": ("tokens",)}, "the bowl's centre depends on every input"),
        ({"protocol": "bowl", "over": "points"}, "resample cells"),
        ({"over": "runs"}, "resamples cells or points"),
        ({"bootstraps": 0}, "at least 20 resamples"),
        ({"active_share": True}, "leave active_share out"),
        ({"batch_inputs": ("loss",)}, "batch_inputs are"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ForescaleError, match=reason):
        fit_law(read_runs(planted()), **options)  # type: ignore[arg-type]
