"""`forescale forecast` as a user runs it, and its picture."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from forescale import ForescaleError
from forescale.plots import forecast_figure


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two waves of whole numbers by the hour."""
    hours = pl.datetime_range(pl.datetime(2024, 2, 1), pl.datetime(2024, 2, 7, 23), "1h", eager=True)
    wave = np.round(10 + 8 * np.sin(np.arange(len(hours)) * np.pi / 12)).astype(int)
    frames = [pl.DataFrame({"unique_id": name, "ds": hours, "y": wave * k}) for name, k in (("north", 1), ("south", 3))]
    pl.concat(frames).write_csv(tmp_path / "series.csv")
    return tmp_path / "series.csv"


QUICK = ("--steps", "8", "--paths", "20")


def test_a_table_becomes_forecasts_a_file_a_picture_and_a_model(run, table: Path, tmp_path: Path) -> None:
    out, plot, model = tmp_path / "out.csv", tmp_path / "plot.png", tmp_path / "model.pt"
    code, printed, said = run("forecast", table, "--horizon", 6, *QUICK, "--out", out, "--plot", plot, "--save", model)
    assert code == 0, said
    assert "2 series, C2FAR" in printed
    assert "north" in printed
    found = pl.read_csv(out, try_parse_dates=True)
    assert found.height == 12
    assert str(found["ds"][0]) == "2024-02-08 00:00:00"
    assert (found["C2FAR"] == found["C2FAR"].round(1)).all()  # whole numbers, or halves between two paths
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, printed, _ = run("forecast", table, "--horizon", 3, "--model", model, "--json", "--paths", 20)
    document = json.loads(printed)
    assert document["schema_version"] == 1
    assert [each["unique_id"] for each in document["series"]] == ["north", "south"]
    first = document["series"][0]
    assert len(first["ds"]) == len(first["median"]) == len(first["intervals"]["80"]["low"]) == 3
    for low, middle, high in zip(
        first["intervals"]["95"]["low"], first["median"], first["intervals"]["95"]["high"], strict=True
    ):
        assert low <= middle <= high


def test_columns_by_other_names_and_one_series(run, table: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(table).filter(unique_id="north").select(Timestamp="ds", demand="y")
    with gzip.open(tmp_path / "one.csv.gz", "wb") as file:
        file.write(frame.write_csv().encode())
    code, printed, said = run(
        "forecast", tmp_path / "one.csv.gz", "--horizon", 2, *QUICK, "--columns", "y=demand", "--json"
    )
    assert code == 0, said
    assert json.loads(printed)["series"][0]["unique_id"] is None


def changed(table: Path, change: Any) -> Path:
    other = table.with_name("changed.csv")
    change(pl.read_csv(table)).write_csv(other)
    return other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.with_columns(y=pl.lit(5)), "no window to train on"),
        (lambda t: t.with_columns(y=pl.lit(None)), "all of its 336 values are missing"),
        (lambda t: t.with_columns(y=pl.lit("inf")), "must be numbers|must be finite"),
        (lambda t: t.head(5), "no window to train on"),
        (lambda t: pl.concat([t, t.head(1)]), "twice in series 'north'"),
        (lambda t: t.drop("y"), "y is missing"),
        (lambda t: t.head(0), "no rows|empty"),
    ],
)
def test_bad_tables_are_one_sentence(run, table: Path, change: Any, said: str) -> None:
    import re

    code, printed, error = run("forecast", changed(table, change), "--horizon", 6, *QUICK)
    assert (code, printed) == (2, "")
    assert re.search(said, error), error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--horizon", "0"), "--horizon must be"),
        (("--horizon", "-4"), "--horizon must be"),
        (("--horizon", "2.5"), "--horizon must be"),
        (("--horizon", "6", "--paths", "0"), "--paths must be a whole number from 1 on; got 0"),
        (("--horizon", "6", "--steps", "0"), "--steps must be a whole number from 1 on; got 0"),
        (("--horizon", "3000"), "no window to train on"),
        (("--horizon", "3", "--out", "out.txt"), "must end in .csv"),
        (("--horizon", "3", "--plot", "out.txt"), "a picture is a"),
        (("--horizon", "3", "--columns", "y=other"), "--columns takes"),
        (("--horizon", "3", "--model", "none.pt"), "cannot be read"),
        (("--horizon", "3", "--model", "none.pt", "--steps", "9"), "leave them out"),
    ],
)
def test_bad_options_are_one_sentence(run, table: Path, options: tuple[str, ...], said: str) -> None:
    code, printed, error = run("forecast", table, *options)
    assert (code, printed) == (2, "")
    assert said in error
    assert error.count("\n") == 1


def test_files_that_are_no_tables(run, tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(b"\xff\xfe\x00\x9c")
    (tmp_path / "empty.csv").write_text("")
    for name, said in (
        ("noise.csv", "ds and y are missing"),
        ("empty.csv", "is empty"),
        ("none.csv", "cannot be read"),
    ):
        code, _, error = run("forecast", tmp_path / name, "--horizon", 3)
        assert code == 2
        assert said in error


def test_a_picture_shows_every_series_and_band() -> None:
    ahead = np.arange(10, 14)
    each = {
        "name": "a $5 series", "past": (np.arange(10), np.arange(10.0)), "future": ahead, "median": np.ones(4),
        "bands": [(50, np.zeros(4), np.full(4, 2.0)), (80, np.full(4, -1.0), np.full(4, 3.0))], "paths": np.ones((3, 4)),
    }  # fmt: skip
    figure: Any = forecast_figure([each, each, each], dates=False)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in drawn] == ["a $5 series"] * 3
    assert [len(axes.lines) for axes in drawn] == [5, 5, 5]  # past, median, three paths
    assert [len(axes.collections) for axes in drawn] == [2, 2, 2]
    assert "80 % interval" in [text.get_text() for text in figure.legends[0].get_texts()]
    with pytest.raises(ForescaleError, match="got none"):
        forecast_figure([])
