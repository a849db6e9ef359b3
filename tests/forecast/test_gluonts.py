"""C2FAR in DeepAR's place in GluonTS: data sets, evaluation, saved predictors; and what DeepAR has and C2FAR has not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_series import m4_hourly

from forescale import ForescaleError
from forescale.forecast.gluonts import C2FAREstimator, SutraNetEstimator

# GluonTS 0.17 uses what pandas 3 deprecates, in its own lines.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
pytest.importorskip("gluonts")

START = pd.Period("2000-01-03 00:00", freq="h")
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "bins": (6, 5),
    "trainer_kwargs": {"max_epochs": 2},
    "num_batches_per_epoch": 5,
}


def waves(count: int = 120, names: str = "ab") -> Any:
    from gluonts.dataset.common import ListDataset

    noise = np.random.default_rng(0)
    return ListDataset(
        [
            {"start": START, "target": np.sin(np.arange(count) / 4) + noise.normal(0, 0.1, count), "item_id": name}
            for name in names
        ],
        freq="h",
    )


@pytest.fixture(scope="module")
def predictor() -> Any:
    return C2FAREstimator(freq="h", prediction_length=6, **SMALL).train(waves())


def evaluated(predictor: Any, dataset: Any, samples: int = 20) -> tuple[dict[str, float], list[Any]]:
    from gluonts.evaluation import Evaluator, make_evaluation_predictions

    found, truth = make_evaluation_predictions(dataset=dataset, predictor=predictor, num_samples=samples)
    forecasts = list(found)
    quantiles = [k / 10 for k in range(1, 10)]
    scores, _ = Evaluator(quantiles=quantiles, num_workers=0)(truth, iter(forecasts), num_series=len(forecasts))
    return scores, forecasts


def test_deepars_script_with_one_line_changed(data: Path, tmp_path: Path) -> None:
    """On a piece of M4 hourly, by GluonTS's own evaluator: after 15 epochs of 10, ahead of the last day once more.

    The seasonal naive forecast is GluonTS's own.
    """
    from gluonts.dataset.common import ListDataset
    from gluonts.model.predictor import Predictor
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor

    series = [values[-400:] for values in m4_hourly(data)[::40]]
    train = ListDataset([{"start": START, "target": v[:-24]} for v in series], freq="h")
    test = ListDataset([{"start": START, "target": v} for v in series], freq="h")
    estimator = C2FAREstimator(
        freq="h", prediction_length=24, num_batches_per_epoch=10, batch_size=64, hidden_size=32,
        trainer_kwargs={"max_epochs": 15, "enable_progress_bar": False},
    )  # fmt: skip
    predictor = estimator.train(train)
    assert predictor.forecaster.fitted.steps <= 150
    scores, forecasts = evaluated(predictor, test, 50)
    naive, _ = evaluated(SeasonalNaivePredictor(prediction_length=24, season_length=24), test)
    assert scores["mean_wQuantileLoss"] < naive["mean_wQuantileLoss"]
    assert scores["ND"] < naive["ND"]
    predictor.serialize(tmp_path)
    again = Predictor.deserialize(tmp_path)
    for before, after in zip(forecasts, evaluated(again, test, 50)[1], strict=True):
        assert (before.samples == after.samples).all()


def test_forecasts_stand_after_their_entries(predictor: Any) -> None:
    """Entries of unequal starts and lengths, with names and without, one with a gap."""
    holes = np.sin(np.arange(50) / 4)
    holes[[7, 30, 49]] = np.nan
    entries = [
        {"start": START, "target": np.sin(np.arange(60) / 4), "item_id": "a"},
        {"start": START + 1000, "target": holes},
        {"start": START + 3, "target": np.array([1.0, 2.0, 4.0], np.float32), "feat_static_cat": [1]},
    ]
    found = list(predictor.predict(entries, num_samples=7))
    assert [each.samples.shape for each in found] == [(7, 6)] * 3
    assert [each.start_date for each in found] == [START + 60, START + 1050, START + 6]
    assert [each.item_id for each in found] == ["a", "1", "2"]
    assert all(np.isfinite(each.samples).all() for each in found)
    assert next(iter(predictor.predict(entries))).num_samples == 100  # DeepAR's default


def test_long_frames_of_pandas(predictor: Any) -> None:
    from gluonts.dataset.pandas import PandasDataset

    times = pd.date_range("2024-01-01", periods=80, freq="h")
    frame = pd.concat(
        pd.DataFrame({"item_id": name, "timestamp": times, "target": np.sin(np.arange(80) / 4) * size})
        for name, size in (("x", 3.0), ("y", 5.0))
    )
    dataset = PandasDataset.from_long_dataframe(frame, item_id="item_id", timestamp="timestamp", target="target")
    scores, forecasts = evaluated(predictor, dataset)
    assert [each.item_id for each in forecasts] == ["x", "y"]
    assert forecasts[0].start_date == pd.Period("2024-01-04 02:00", freq="h")
    assert np.isfinite(scores["mean_wQuantileLoss"])


def test_more_entries_than_are_read_at_a_time(predictor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same forecasts in pieces of two, and nameless entries that are alike get paths of their own."""
    entries = [{"start": START, "target": np.sin(np.arange(60) / 4)} for _ in range(5)]
    whole = [each.samples for each in predictor.predict(iter(entries), num_samples=4)]
    monkeypatch.setattr("forescale.forecast.gluonts._predictor.ENTRIES", 2)
    parts = [each.samples for each in predictor.predict(iter(entries), num_samples=4)]
    assert np.allclose(whole, parts, rtol=1e-4)
    assert not np.allclose(whole[0], whole[2])


def test_arguments_of_deepar_become_options() -> None:
    made = C2FAREstimator(
        "D", 7, 21, num_layers=2, hidden_size=16, lr=1e-2, weight_decay=1e-8, dropout_rate=0.1, lags_seq=[1, 7],
        time_features=[], batch_size=8, num_feat_dynamic_real=0, cardinality=None, scaling=True, num_batches_per_epoch=3,
        trainer_kwargs={"max_epochs": 4, "max_steps": -1, "gradient_clip_val": 10.0, "accelerator": "cpu", "logger": False},
    )._forecaster()  # fmt: skip
    options, training = made.options, made.training
    assert (options.horizon, options.context, options.layers, options.hidden) == (7, 21, 2, 16)
    assert (options.dropout, options.lags, options.calendar) == (0.1, (1, 7), False)
    assert (training.steps, training.batch, training.learning_rate, training.clip) == (12, 8, 1e-2, 10.0)
    assert C2FAREstimator("h", 24, trainer_kwargs={"max_steps": 9})._training.steps == 9
    assert C2FAREstimator("h", 24)._training.steps == 1000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_feat_dynamic_real": 2, "distr_output": "StudentT"}, r"num_feat_dynamic_real \(.*distr_output \("),
        ({"cardinality": [3]}, "cardinality"),
        ({"patience": 10}, "patience"),
        ({"trainer_kwargs": {"accelerator": "gpu"}}, "accelerator='gpu'"),
        ({"trainer_kwargs": {"strategy": "ddp"}}, "strategy='ddp'"),
        ({"trainer_kwargs": {"max_epochs": 0}}, "max_epochs must be a whole number"),
        ({"time_features": ["hour"]}, "time_features"),
        ({"scaling": False}, "scaling"),
        ({"freq": "fortnightly"}, "freq must be a frequency"),
        ({"prediction_length": 0}, "prediction_length must be"),
        ({"num_parallel_samples": 0}, "num_parallel_samples must be"),
        ({"batch_size": 0}, "batch must be"),
        ({"lr": -1.0}, "learning_rate must be a number above 0"),
        ({"hidden": 3, "depth": 3}, "depth is no option"),
    ],
    ids=str,
)
def test_what_c2far_has_no_answer_to_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        C2FAREstimator(**{"freq": "h", "prediction_length": 6, **options})


def test_data_that_does_not_fit_is_told(predictor: Any, tmp_path: Path) -> None:
    daily = [{"start": pd.Period("2024-01-01", freq="D"), "target": np.arange(50.0)}]
    wide = [{"start": START, "target": np.ones((2, 50))}]
    asked = [
        (lambda: C2FAREstimator("h", 6).train(daily), "freq is 'h', a step of 1 hours; got series of step 1 days"),
        (lambda: list(predictor.predict(daily)), "trained on series of step 1 hours"),
        (lambda: list(predictor.predict(wide)), "2 dimensions"),
        (lambda: list(predictor.predict(waves(), num_samples=0)), "num_samples must be"),
        (lambda: list(predictor.predict([{"start": "2024", "target": [1.0]}])), "period of pandas"),
        (lambda: predictor.serialize(tmp_path / "none"), "make the folder first"),
        (lambda: type(predictor).deserialize(tmp_path), "holds no forecaster"),
        (lambda: C2FAREstimator("h", 6).train(waves(), ckpt_path="x"), "no ckpt_path"),
    ]
    for ask, said in asked:
        with pytest.raises(ForescaleError, match=said):
            ask()


def test_validation_data_that_is_not_read_is_said() -> None:
    with pytest.warns(UserWarning, match="validation_data is not read"):
        C2FAREstimator(freq="h", prediction_length=6, **SMALL).train(waves(), waves())


@pytest.mark.filterwarnings("ignore:Period with BDay:FutureWarning")
def test_business_days_are_counted() -> None:
    """Pandas counts them in a period's ordinal; the forecast of a Friday is the next Monday's."""
    friday = pd.Period("2024-03-01", freq="B")
    walk = np.cumsum(np.random.default_rng(0).normal(size=90))
    entries = [{"start": friday - 89, "target": walk}]
    found = next(iter(C2FAREstimator(freq="B", prediction_length=2, **SMALL).train(entries).predict(entries)))
    assert found.start_date == pd.Period("2024-03-04", freq="B")


def test_sutranets_too(tmp_path: Path) -> None:
    from gluonts.model.predictor import Predictor

    made = SutraNetEstimator(freq="h", prediction_length=6, context_length=24, subseries=3, **SMALL)
    predictor = made.train(waves(names="a"))
    predictor.serialize(tmp_path)
    first, again = (next(iter(each.predict(waves(names="a")))) for each in (predictor, Predictor.deserialize(tmp_path)))
    assert (first.samples == again.samples).all()
    with pytest.raises(ForescaleError, match="no lags"):
        SutraNetEstimator(freq="h", prediction_length=6, lags_seq=[24])


def test_without_gluonts_a_sentence_says_how_to_get_it() -> None:
    probe = "import sys; sys.modules['gluonts'] = None\nfrom forescale.forecast.gluonts import C2FAREstimator"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert "MissingExtraError: GluonTS is not installed: pip install 'forescale[gluonts]'" in done.stderr
