"""C2FAR as its users meet it, on small made series."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from forecast_series import HORIZON, azure_hourly

from forescale import ForescaleError
from forescale.forecast import C2FAR, Training
from forescale.forecast._windows import Windows

SMALL = {"horizon": 6, "span": 24, "bins": (6, 5), "hidden": 8, "season": 12}
SHORT = Training(steps=12, batch=16, checks=3)


def wave(count: int, name: str, scale: float = 1.0, seed: int = 0) -> pl.DataFrame:
    noise = np.random.default_rng(seed).normal(0, 0.2, count)
    times = [datetime(2024, 1, 1) + timedelta(hours=k) for k in range(count)]
    y = scale * (np.sin(np.arange(count) * 2 * np.pi / 12) + noise)
    return pl.DataFrame({"unique_id": name, "ds": times, "y": y})


@pytest.fixture(scope="module")
def series() -> pl.DataFrame:
    return pl.concat([wave(150, "a", -3.0), wave(150, "b", 1e6, 1), wave(40, "short", 2.0, 2)])


@pytest.fixture(scope="module")
def model(series: pl.DataFrame) -> C2FAR:
    return C2FAR(training=SHORT, **SMALL).fit(series)


def test_answers_have_the_shape_of_the_question(model: C2FAR, series: pl.DataFrame) -> None:
    found = model.predict(series, level=(50, 80))
    assert found.columns == ["unique_id", "ds", "C2FAR", "C2FAR-lo-50", "C2FAR-hi-50", "C2FAR-lo-80", "C2FAR-hi-80"]
    assert found["unique_id"].to_list() == [name for name in ("a", "b", "short") for _ in range(6)]
    assert found["ds"][0] == datetime(2024, 1, 1) + timedelta(hours=150)
    ordered = ["C2FAR-lo-80", "C2FAR-lo-50", "C2FAR", "C2FAR-hi-50", "C2FAR-hi-80"]
    assert (np.diff(found.select(ordered).to_numpy()) >= 0).all()
    drawn = model.sample(series, 20, 3)  # beyond the horizon that it was trained for
    assert drawn.columns == ["unique_id", "ds", "sample", "y"]
    assert drawn.height == 3 * 20 * 3
    assert np.isfinite(drawn["y"].to_numpy()).all()
    assert model.paths(series, 20, 3).reshape(-1) == pytest.approx(drawn["y"].to_numpy())


def test_paths_of_a_series_depend_on_no_other(model: C2FAR, series: pl.DataFrame) -> None:
    together, alone = model.paths(series, 6, 9), model.paths(series.filter(unique_id="b"), 6, 9)
    assert together[1] == pytest.approx(alone[0], rel=1e-4)
    assert model.paths(series, 6, 9, seed=1)[1] != pytest.approx(alone[0], rel=1e-4)


def test_quantiles_one_step_ahead_are_exact(model: C2FAR, series: pl.DataFrame) -> None:
    """They invert the CDF that `log_prob` gives for the value, and sampled ones come near them."""
    found = model.quantiles(series, 1, (0.1, 0.35, 0.9))
    for column, share in (("q0.1", 0.1), ("q0.35", 0.35), ("q0.9", 0.9)):
        ended = pl.concat([series, found.select("unique_id", "ds", y=column)])
        last = one_step(model).log_prob(ended).group_by("unique_id", maintain_order=True).last()
        assert last["cdf"].to_numpy() == pytest.approx([share] * 3, abs=2e-5)
    sampled = np.quantile(model.paths(series, 1, 4000), 0.35, axis=1)[:, 0]
    spread = found["q0.9"].to_numpy() - found["q0.1"].to_numpy()
    assert (np.abs(sampled - found["q0.35"].to_numpy()) < 0.05 * spread).all()


def one_step(model: C2FAR) -> C2FAR:
    """The same model, its likelihoods read a step at a time."""
    made = C2FAR(training=SHORT, **SMALL)
    made._network, made.step = model._network, model.step
    made._layout = replace(model._layout, horizon=1)
    return made


def test_log_prob_is_that_of_the_last_windows(model: C2FAR, series: pl.DataFrame) -> None:
    found = model.log_prob(series)
    assert found.columns == ["unique_id", "ds", "y", "log_prob", "cdf"]
    assert found.height == series.height
    assert found.filter(unique_id="a")["log_prob"].is_null().to_list() == [k < 24 for k in range(150)]
    cdf = found["cdf"].drop_nulls().to_numpy()
    assert ((cdf >= 0) & (cdf <= 1)).all()
    scaled = model.log_prob(series.with_columns(y=pl.col("y") * 10 + 7))  # the same law in another unit
    shift = (found["log_prob"] - scaled["log_prob"]).drop_nulls().to_numpy()
    level = pl.concat([found, scaled.select(other="log_prob")], how="horizontal").drop_nulls()
    assert np.median(shift) == pytest.approx(np.log(10), abs=0.05)
    assert level.height == found["log_prob"].drop_nulls().len()


def test_constant_windows_repeat_their_value(model: C2FAR) -> None:
    flat = wave(100, "flat").with_columns(y=pl.lit(-4.5))
    found = model.predict(flat)
    assert found.drop("unique_id", "ds").to_numpy() == pytest.approx(np.full((6, 3), -4.5))
    assert model.log_prob(flat)["log_prob"].is_null().all()


def test_gaps_and_short_series_are_forecast(model: C2FAR) -> None:
    holes = wave(120, "holes").with_columns(y=pl.when(pl.int_range(120) % 5 == 0).then(None).otherwise("y"))
    tiny = wave(3, "tiny")
    found = model.predict(pl.concat([holes, tiny]))
    assert np.isfinite(found.drop("unique_id", "ds").to_numpy()).all()
    assert model.log_prob(holes).height == 96  # gaps have no likelihood


def test_integers_and_signs_are_kept(model: C2FAR) -> None:
    counts = wave(120, "counts", 8.0).with_columns(y=pl.col("y").round().abs())
    drawn = model.paths(counts, 12, 50)
    assert (drawn == np.round(drawn)).all()
    assert (drawn >= 0).all()
    assert (model.paths(counts.with_columns(y=pl.col("y") - 20.25), 12, 50) < 0).any()


def test_the_last_values_are_not_read_by_cross_validation(series: pl.DataFrame) -> None:
    """Values after every cutoff may be anything: forecasts stay; they change with the values before."""
    long = series.filter(pl.col("unique_id") != "short")
    last = (datetime(2024, 1, 1) + timedelta(hours=144)).replace()
    spoiled = long.with_columns(y=pl.when(pl.col("ds") >= last).then(1e9).otherwise("y"))
    first, second = (
        C2FAR(training=SHORT, **SMALL).cross_validation(each, windows=1, paths=20) for each in (long, spoiled)
    )
    assert first["cutoff"].unique().to_list() == [last - timedelta(hours=1)]
    assert first["C2FAR"].to_list() == second["C2FAR"].to_list()
    assert first["y"].to_list() != second["y"].to_list()


def test_saved_and_loaded_is_the_same(model: C2FAR, series: pl.DataFrame, tmp_path: Path) -> None:
    model.save(tmp_path / "model.pt")
    loaded = C2FAR.load(tmp_path / "model.pt")
    assert (loaded.paths(series, 6, 5) == model.paths(series, 6, 5)).all()
    assert (loaded.options, loaded.training, loaded.fitted) == (model.options, model.training, model.fitted)
    (tmp_path / "other.pt").write_text("no")
    for name, said in (("other.pt", "not a saved C2FAR"), ("none.pt", "cannot be read")):
        with pytest.raises(ForescaleError, match=said):
            C2FAR.load(tmp_path / name)
    with pytest.raises(ForescaleError, match="cannot be written"):
        model.save(tmp_path / "none" / "model.pt")


def test_files_of_the_first_format_still_load(model: C2FAR, series: pl.DataFrame, tmp_path: Path) -> None:
    """It had neither the class nor its settings, nor the CPU time of training."""
    model.save(tmp_path / "new.pt")
    content = torch.load(tmp_path / "new.pt", weights_only=True)
    about = json.loads(content["about"])
    del about["class"], about["settings"], about["fitted"]["cpu_seconds"]
    torch.save(content | {"format": "forescale.forecast 1", "about": json.dumps(about)}, tmp_path / "old.pt")
    loaded = C2FAR.load(tmp_path / "old.pt")
    assert (loaded.paths(series, 6, 5) == model.paths(series, 6, 5)).all()
    assert loaded.fitted == replace(model.fitted, cpu_seconds=None)


def test_training_says_what_it_cost(model: C2FAR) -> None:
    assert 0 < model.fitted.cpu_seconds < 600


def test_another_forecaster_fills_three_hooks(series: pl.DataFrame) -> None:
    """One that says the median of its law every time: the other calls are there, under its own name."""

    class Steady(C2FAR):
        name = "Steady"

        def draw(self, windows: Windows, uniform: torch.Tensor) -> torch.Tensor:
            return super().draw(windows, torch.full_like(uniform, 0.5))

    made = Steady(training=SHORT, **SMALL).fit(series)
    assert made.predict(series).columns == ["unique_id", "ds", "Steady", "Steady-lo-80", "Steady-hi-80"]
    paths = made.paths(series, 6, 3)
    assert (paths[:, 0] == paths[:, 2]).all()
    assert "Steady" in made.cross_validation(series, paths=2).columns


@pytest.mark.parametrize(
    "options",
    [
        {"bins": (40,)},
        {"tails": False},
        {"scaling": "standard", "low": -4.0, "high": 4.0},
        {"network": "separate", "layers": 2},
        {"law": "normal"},
        {"law": "student-t"},
        {"backbone": "transformer", "hidden": 16, "layers": 2},
        {"bins": (3, 3, 3, 2)},
        {"lags": (), "calendar": False},
    ],
    ids=str,
)
def test_every_kind_learns_and_draws(series: pl.DataFrame, options: dict) -> None:
    made = C2FAR(training=Training(steps=30, batch=32, checks=3), **{**SMALL, **options}).fit(series)
    losses = made.fitted.losses
    assert losses[-1][2] < losses[0][2]
    assert np.isfinite(made.paths(series, 6, 4)).all()
    cdf = made.log_prob(series)["cdf"].drop_nulls().to_numpy()
    assert ((cdf >= 0) & (cdf <= 1)).all()


def test_a_transformer_is_saved_and_sees_beyond_its_horizon(series: pl.DataFrame, tmp_path: Path) -> None:
    made = C2FAR(training=SHORT, **SMALL, backbone="transformer").fit(series)
    made.save(tmp_path / "model.pt")
    loaded = C2FAR.load(tmp_path / "model.pt")
    assert loaded.options.backbone == "transformer"
    far = made.paths(series, 50, 4)  # trained for 6
    assert np.isfinite(far).all()
    assert (loaded.paths(series, 50, 4) == far).all()
    with pytest.raises(ForescaleError, match="hidden must be even; got 9"):
        C2FAR(training=SHORT, **{**SMALL, "hidden": 9}, backbone="transformer").fit(series)


def test_the_same_seed_trains_the_same_model(series: pl.DataFrame) -> None:
    first, second, third = (
        C2FAR(training=Training(steps=3, batch=8, checks=1, seed=seed), **SMALL).fit(series).fitted.loss
        for seed in (0, 0, 1)
    )
    assert first == second != third


def test_too_short_series_are_left_out_and_named(series: pl.DataFrame) -> None:
    made = C2FAR(training=Training(steps=2, batch=4, checks=1), **SMALL)
    made.fit(pl.concat([series, wave(9, "tiny")]))
    assert made.fitted.left_out == ("tiny",)
    with pytest.raises(ForescaleError, match=r"no window to train on: with a horizon of 6.* the longest has 9"):
        made.fit(wave(9, "tiny"))
    with pytest.raises(ForescaleError, match="no window to train on"):
        made.fit(wave(90, "flat").with_columns(y=pl.lit(2.0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": -3}, "horizon"),
        ({"hidden": 2.5}, "hidden"),
        ({"bin": (2, 2)}, "bin is no option"),
        ({"scaling": "max"}, "one of min-max, standard"),
        ({"law": "normal", "network": "separate"}, "shared"),
        ({"horizon": None}, "horizon must be a whole number from 1 on; got None"),
        ({"horizon": float("nan")}, "horizon must be a whole number from 1 on; got nan"),
        ({"horizon": "24"}, "got '24'"),
        ({"lags": (0, 3)}, "each of lags must be a whole number from 1 on; got 0"),
        ({"lags": 24}, "lags must be a list of whole numbers; got 24"),
        ({"bins": "20"}, "bins must be a list"),
        ({"dropout": 1.5}, "dropout is a share"),
        ({"training": "long"}, "training is a Training"),
        ({"backbone": "mamba"}, "one of lstm, transformer"),
        ({"backbone": "transformer", "network": "separate"}, "separate networks are LSTMs"),
    ],
)
def test_options_that_cannot_be(options: dict, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        C2FAR(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"validation": -1}, "validation must be 0 or more"),
        ({"warmup": 1.0}, "warmup is a share"),
    ],
)
def test_training_that_cannot_be(options: dict, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        Training(**options)


def test_training_that_diverges_is_told(series: pl.DataFrame) -> None:
    wild = Training(steps=20, batch=8, checks=2, learning_rate=1e12)
    with pytest.raises(ForescaleError, match="training diverged: no check of 20 steps"):
        C2FAR(training=wild, **SMALL).fit(series)


def test_questions_that_cannot_be(model: C2FAR, series: pl.DataFrame) -> None:
    daily = pl.DataFrame(
        {"unique_id": "a", "ds": pl.date_range(datetime(2024, 1, 1), datetime(2024, 3, 1), eager=True)}
    )
    daily = daily.with_columns(y=pl.int_range(pl.len()).cast(float))
    asked = [
        (lambda: model.predict(series, 0), "horizon"),
        (lambda: model.predict(series, -1), "horizon"),
        (lambda: model.predict(series, 2.0), "the horizon must be a whole number from 1 on; got 2.0"),
        (lambda: model.sample(series, 3, 0), "paths"),
        (lambda: model.predict(series, level=80), "level must be a list of numbers; got 80"),
        (lambda: model.quantiles(series, quantiles=0.5), "quantiles must be a list of numbers; got 0.5"),
        (lambda: model.quantiles(series, 3, (0.1, 1.0)), "between 0 and 1"),
        (lambda: model.predict(series, 3, level=(100,)), "per cent"),
        (lambda: model.predict(daily), "trained on series of step 1 hours"),
        (lambda: C2FAR().predict(series), "no weights yet"),
        (lambda: C2FAR(**SMALL).cross_validation(series, windows=9), "fewer windows"),
    ]
    for ask, said in asked:
        with pytest.raises(ForescaleError, match=said):
            ask()


def test_the_reference_answers_the_same_questions(data: Path) -> None:
    """Its likelihoods through `log_prob`: the first window of the authors' code, as in test_reference."""
    values = azure_hourly(data)[0]
    table = pl.DataFrame({"ds": np.arange(len(values)), "y": values})
    reference = C2FAR.from_reference(data / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz")
    found = reference.log_prob(table)["log_prob"].to_numpy()
    start = len(values) - 7 * HORIZON
    past = values[start - 168 : start]
    assert -found[start : start + HORIZON].mean() - np.log(np.ptp(past)) == pytest.approx(-2.2577, abs=5.1e-5)
    assert reference.parameters == 821_593
    torch.manual_seed(5)
    assert reference.sample(table, 3, 2).shape == (6, 3)
