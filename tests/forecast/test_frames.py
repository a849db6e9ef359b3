"""Long frames in and out: any library, any order, gaps, months, time zones; and what cannot be read."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from forescale import ForescaleError
from forescale.forecast._frames import read_panel
from forescale.forecast._series import DAY, Step


def hours(count: int, name: str = "a", start: datetime = datetime(2024, 3, 1), step: int = 1) -> pl.DataFrame:
    times = [start + timedelta(hours=step * k) for k in range(count)]
    return pl.DataFrame({"unique_id": [name] * count, "ds": times, "y": [float(k) for k in range(count)]})


def test_rows_may_come_in_any_order_and_series_keep_theirs() -> None:
    table = pl.concat([hours(5, "b"), hours(4, "a")])
    panel, _ = read_panel(
        table.sample(fraction=1, shuffle=True, seed=3).sort("unique_id", descending=True, maintain_order=True)
    )
    assert panel.ids == ("b", "a")
    assert [values.tolist() for values in panel.values] == [[0, 1, 2, 3, 4], [0, 1, 2, 3]]
    assert str(panel.step) == "1 hours"


def test_missing_times_nulls_and_nan_are_gaps() -> None:
    table = (
        hours(8)
        .with_columns(y=pl.Series([0.0, None, 2.0, 3.0, float("nan"), 5.0, 6.0, 7.0]))
        .filter(pl.col("y").fill_null(9) != 3)
    )
    panel, _ = read_panel(table)
    np.testing.assert_array_equal(panel.values[0], [0, np.nan, 2, np.nan, np.nan, 5, 6, 7])


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_a_frame_goes_back_to_its_library(library: str) -> None:
    table = hours(3)
    native = {"polars": table, "pandas": table.to_pandas(), "pyarrow": table.to_arrow()}[library]
    panel, origin = read_panel(native)
    back = origin.frame({"unique_id": ["a"], "y": [1.0]}, panel.step.times(panel.first[0], 3, 4))
    assert isinstance(back, type(native))
    times = back["ds"].to_pylist() if isinstance(back, pa.Table) else back["ds"].to_list()
    assert times[0] == datetime(2024, 3, 1, 3)


def test_time_zones_come_back() -> None:
    table = hours(4).with_columns(pl.col("ds").dt.replace_time_zone("Europe/Berlin"))
    panel, origin = read_panel(table)
    back = origin.frame({"unique_id": ["a"], "y": [1.0]}, panel.step.times(panel.first[0], 4, 5))
    assert str(back["ds"][0]) == "2024-03-01 04:00:00+01:00"


@pytest.mark.parametrize(
    ("days", "ahead"),
    [
        (["2024-01-31", "2024-02-29", "2024-03-31"], "2024-04-30"),  # last of the month
        (["2023-11-15", "2023-12-15", "2024-01-15", "2024-02-15"], "2024-03-15"),
        (["2023-01-01", "2023-04-01", "2023-07-01"], "2023-10-01"),  # quarters
        (["2021-06-30", "2022-06-30", "2023-06-30"], "2024-06-30"),  # years
        (["2024-01-05", "2024-01-12", "2024-01-19"], "2024-01-26"),  # weeks
    ],
)
def test_months_are_calendar_months(days: list[str], ahead: str) -> None:
    table = pl.DataFrame({"ds": [date.fromisoformat(day) for day in days], "y": [1.0] * len(days)})
    panel, origin = read_panel(table)
    times = panel.step.times(panel.first[0], 0, len(days) + 1)
    back = origin.frame({"unique_id": [0] * len(times)}, times)
    assert back["ds"].to_list() == [date.fromisoformat(day) for day in (*days, ahead)]
    assert back.columns == ["ds"]


def test_text_times_and_whole_numbers() -> None:
    text = pl.DataFrame({"ds": ["2024-01-01T00:00:00", "2024-01-01T00:05:00"], "y": [1, 2]})
    assert read_panel(text)[0].step.season == 288
    numbers, origin = read_panel(pl.DataFrame({"ds": [10, 20, 30], "y": [1, 2, 3]}))
    assert origin.frame({"unique_id": [0]}, numbers.step.times(10, 3, 4))["ds"].to_list() == [40]


def test_gluonts_entries() -> None:
    entries = [{"start": pd.Period("2024-01-01", freq="h"), "target": np.arange(5.0), "item_id": "x"}]
    panel, _ = read_panel(entries)
    assert (panel.ids, str(panel.step), panel.values[0].tolist()) == (("x",), "1 hours", [0, 1, 2, 3, 4])
    assert read_panel([{"start": pd.Period("2024-01", freq="M"), "target": [1.0]}])[0].step == Step(
        count=1, unit="month"
    )


def test_calendar_of_known_times() -> None:
    """Midnight of a Monday is phase 0 of the day and of the week."""
    monday = int(np.datetime64("2024-01-01", "us").astype(np.int64))
    features = Step(count=3_600_000_000, unit="microsecond").features(np.array([monday, monday + DAY // 4]))
    assert features.shape == (2, 12)
    assert features[0, :6] == pytest.approx([0, 1, 0, 1, 0, 1], abs=1e-6)
    assert features[0, 6:] == pytest.approx([0, 1, 0, 1, 0, 1], abs=1e-6)
    assert features[1, :2] == pytest.approx([1, 0], abs=1e-6)


def bad(**columns: object) -> pl.DataFrame:
    return hours(6).with_columns(**columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (hours(4).drop("y"), "y is missing"),
        (hours(0), "no rows"),
        (bad(y=pl.lit("many")), "y must be numbers; got String such as 'many'"),
        (bad(y=pl.lit(float("inf"))), "y must be finite; got inf in series 'a'"),
        (bad(y=pl.lit(float("nan"))), "no observed value"),
        (bad(ds=pl.lit(None, dtype=pl.Datetime)), "ds is missing"),
        (bad(ds=pl.lit("yesterday")), "text that is no time"),
        (bad(ds=pl.lit(1.5)), "fractions"),
        (pl.concat([hours(5), hours(5)]), "twice in series 'a'"),
        (pl.concat([hours(5), hours(5, "b", step=24)]), "same step"),
        (pl.concat([hours(30), hours(30, start=datetime(2024, 3, 9), step=24)]), "more holes than values"),
        (pl.concat([hours(30), hours(1, start=datetime(2024, 3, 2, 8, 20))]), "grid of the step"),
        (hours(1), "single value"),
        ([], "empty"),
        (bad(y=pl.lit(None)), "all of its 6 values are missing"),
        ([{"target": [1.0]}], "start and target, as GluonTS's; got one with target"),
        ([1.0, 2.0], "got one of type float"),
        ("series.csv", "eager data frame"),
        (7, "eager data frame"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(data: object, said: str) -> None:
    with pytest.raises(ForescaleError, match=said):
        read_panel(data)
