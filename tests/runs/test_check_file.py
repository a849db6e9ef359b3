"""Files that are no table of commas get a sentence that says what they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from forescale.errors import ForescaleError
from forescale.runs import read_runs

TEXT = "params,tokens,lr,batch_tokens,loss\n1e8,1e10,1e-3,262144,3.1\n"
FILES = {
    "semicolons": ("a.csv", TEXT.replace(",", ";").encode(), "divided by commas; its header has semicolons: save it"),
    "tabs": ("a.csv", TEXT.replace(",", "\t").encode(), "its header has tabs: name it .tsv"),
    "commas": ("a.tsv", TEXT.encode(), "must be divided by tabs; its header has commas"),
    "utf-16": ("a.csv", TEXT.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    "xlsx": ("a.xlsx", b"PK\x03\x04....", "is a spreadsheet or an archive"),
    "xlsx as csv": ("a.csv", b"PK\x03\x04....", "is a spreadsheet or an archive"),
    "not gzip": ("a.csv.gz", TEXT.encode(), "is not compressed, though its name ends in .gz"),
    "json": ("a.json", b"[]", "JSON of no kind that holds runs"),
    "same name": ("a.csv", TEXT.replace("params", "lr").encode(), "two columns of one name; got 'lr' twice"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_such_table(tmp_path: Path, case: str) -> None:
    name, content, message = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ForescaleError) as raised:
        read_runs(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode("utf-8-sig"))
    assert read_runs(path).columns["params"] == "params"


def test_a_frame_with_two_columns_of_one_name() -> None:
    frame = pd.DataFrame([[1e8, 1e10, 1e-3, 262144, 3.1, 3.2]])
    frame.columns = ["params", "tokens", "lr", "batch_tokens", "loss", "loss"]
    with pytest.raises(ForescaleError, match="two columns of one name"):
        read_runs(frame)


ROW = {"params": 1e8, "tokens": 1e10, "learning_rate": 1e-3, "batch_tokens": 262144.0, "loss": 3.1}


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 1e300), ("learning_rate", 1e-320), ("loss", 1e-320), ("params", 1e30), ("batch_tokens", 0.5)],
)
def test_values_beyond_every_run(name: str, value: float) -> None:
    with pytest.raises(ForescaleError, match=rf"{name}.* must be (between|at least)"):
        read_runs(pl.DataFrame([ROW | {name: value}]))


def test_a_loss_that_only_says_diverged_counts_as_infinite() -> None:
    runs = read_runs(pl.DataFrame([ROW, ROW | {"learning_rate": 1.0, "loss": 1e308}]))
    assert runs.diverged == 1
    assert "1 losses above 1e+06 nats are taken as infinite" in runs.notes
