"""Compression restores every value, whatever the model says; a good model makes it short."""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from uses_series import azure_every_hour

from forescale import ForescaleError
from forescale.forecast import C2FAR, Training
from forescale.forecast.uses import compress, decompress
from forescale.forecast.uses._coded import frequencies


def frame(**series: np.ndarray) -> pl.DataFrame:
    parts = [pl.DataFrame({"unique_id": name, "ds": range(len(y)), "y": y}) for name, y in series.items()]
    return pl.concat(parts)


@pytest.fixture(scope="module")
def model() -> C2FAR:
    """Hardly trained."""
    wave = np.round(20 * np.sin(np.arange(300) / 4)) + 20
    options = {"horizon": 12, "context": 24, "span": 24, "bins": (8, 5, 4), "hidden": 8, "lags": (12,)}
    return C2FAR(training=Training(steps=30, batch=32), **options).fit(frame(wave=wave), progress=False)


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> C2FAR:
    return C2FAR.from_reference(data / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz")


random = np.random.default_rng(1)
CASES = {
    "whole": random.integers(-5, 90, 61).astype(float),
    "decimals": np.round(random.normal(size=50), 3),
    "wild": np.round(random.standard_cauchy(70) * 1e6),
    "constant": np.full(40, 7.0),
    "steps": np.repeat([0.0, 5.0, 5.5, 1e9], 15),
    "huge": 2.0**50 + random.integers(0, 1000, 40),
    "one": np.array([3.5]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_value_comes_back(model: C2FAR, name: str) -> None:
    data = (
        frame(**{name: CASES[name]}) if len(CASES[name]) > 1 else frame(**{name: CASES[name], "whole": CASES["whole"]})
    )
    assert decompress(model, compress(model, data)).equals(data.with_columns(pl.col("y").cast(pl.Float64)))


def test_series_of_several_lengths_with_gaps_come_back(model: C2FAR) -> None:
    gaps = CASES["whole"].copy()
    gaps[[0, 1, 20, 21, 40, -1]] = np.nan
    data = frame(
        gaps=gaps, short=np.arange(5.0), late=np.r_[np.full(30, np.nan), CASES["whole"]], flat=CASES["constant"]
    )
    back = decompress(model, compress(model, data))
    assert back.equals(data.with_columns(pl.col("y").fill_nan(None)))


def test_times_come_back() -> None:
    times = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 3), "1h", eager=True, time_zone="UTC")
    data = pl.DataFrame({"ds": times, "y": np.arange(len(times)) % 7.0})
    other = C2FAR(training=Training(steps=2, batch=4), horizon=6, hidden=4, span=12, context=6, lags=())
    other.fit(data, progress=False)
    assert decompress(other, compress(other, data)).equals(data)


def test_separate_networks_of_one_level_code_too() -> None:
    data = frame(a=CASES["whole"])
    options = {"horizon": 8, "context": 8, "span": 16, "bins": (16,), "hidden": 4, "lags": (), "network": "separate"}
    other = C2FAR(training=Training(steps=2, batch=4), **options, tails=False).fit(data, progress=False)
    assert decompress(other, compress(other, data)).equals(data)


def test_the_checkpoint_beats_general_coders_and_a_poor_model(checkpoint: C2FAR, model: C2FAR, data: Path) -> None:
    """Ten days of hourly Azure demand, each series pressed alone; the header counts."""
    series = {f"{k}": each[:240] for k, each in enumerate(azure_every_hour(data))}
    table = frame(**series)
    content = compress(checkpoint, table)
    assert decompress(checkpoint, content).equals(table)
    for press in (zlib.compress, bz2.compress, lzma.compress):
        steps = [np.diff(each, prepend=0).astype(np.int16).tobytes() for each in series.values()]
        assert len(content) < 0.9 * sum(len(press(each)) for each in steps)
    assert len(content) < 0.9 * len(compress(model, table))


def test_frequencies_are_whole_and_leave_no_code_for_empty_bins() -> None:
    allowed = np.array([[True, False, True, True], [False, False, True, False]])
    table = frequencies(np.array([[0.0, 50.0, math.log(3), -80.0], [0.0, 0.0, -900.0, 9.0]]), allowed)
    counts = np.diff(table)
    assert (table[:, -1] == 1 << 16).all()
    assert counts[0] == pytest.approx([16_384, 0, 49_151, 1], abs=40)  # e^0 : e^log 3 = 1 : 3, logits to 2^-10
    assert counts[1].tolist() == [0, 0, 1 << 16, 0]


def test_what_cannot_be_restored_is_refused(model: C2FAR) -> None:
    with pytest.raises(ForescaleError, match="whole multiples"):
        compress(model, frame(a=np.array([0.1, math.pi, 2.0])))
    with pytest.raises(ForescaleError, match="whole multiples"):
        compress(model, frame(a=np.array([0.25, 0.5, 2.0])), decimals=1)
    with pytest.raises(ForescaleError, match="whole multiples"):
        compress(model, frame(a=np.array([0.0, 1e18, 2.0])))
    normal = C2FAR(training=Training(steps=1, batch=2), horizon=6, span=12, hidden=4, law="normal", lags=())
    normal.fit(frame(a=CASES["whole"]), progress=False)
    with pytest.raises(ForescaleError, match="has none"):
        compress(normal, frame(a=CASES["whole"]))


def test_other_bytes_other_models_and_damage_are_told(model: C2FAR, checkpoint: C2FAR) -> None:
    content = compress(model, frame(a=CASES["whole"]))
    with pytest.raises(ForescaleError, match="not compressed series"):
        decompress(model, b"something else")
    with pytest.raises(ForescaleError, match="another model"):
        decompress(checkpoint, content)
    with pytest.raises(ForescaleError, match="checksum"):
        decompress(model, content[:-12] + bytes([content[-12] ^ 64]) + content[-11:])


def test_the_models_weights_stay_as_they_were(model: C2FAR) -> None:
    before = model.log_prob(frame(a=CASES["whole"]))
    compress(model, frame(a=CASES["whole"]))
    assert model.log_prob(frame(a=CASES["whole"])).equals(before)
    assert all(weight.dtype == torch.float32 for weight in model._ready()[0].parameters())  # pyright: ignore[reportPrivateUsage]
