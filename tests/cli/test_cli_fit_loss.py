"""`forescale fit --loss-law`, as the function that the command calls."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from forescale.cli._fit_loss import fit_loss
from forescale.errors import ForescaleError
from forescale.laws import law


@pytest.fixture
def runs(data: Path, tmp_path: Path) -> Path:
    table = pl.read_csv(data / "epoch-chinchilla" / "svg_extracted_data.csv").sort("loss")[:-5]
    table.write_csv(tmp_path / "runs.csv")
    return tmp_path / "runs.csv"


def test_json_has_each_parameter_with_its_interval(
    runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fit_loss(runs, "chinchilla", json=True, out=tmp_path / "law.toml")
    document = json.loads(capsys.readouterr().out)
    assert set(document["parameters"]) == {"E", "A", "B", "alpha", "beta"}
    for p in document["parameters"].values():
        assert p["low"] < p["value"] < p["high"]
        assert p["stderr"] > 0
    # Besiroglu et al. 2024 (2404.10102), within a standard error.
    assert document["parameters"]["E"]["value"] == pytest.approx(1.8172, abs=0.03)
    assert document["objective"] > 0
    assert document["runs"] == 240
    saved = law(tmp_path / "law.toml").predicts["loss"].constants
    assert saved == {name: p["value"] for name, p in document["parameters"].items()}


def test_the_table_names_constants_and_what_was_assumed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_loss(runs, "over-training")
    printed = capsys.readouterr().out
    for word in ("eta", "80 %", "objective", "held out", "tokens is taken as compute / (6 params)"):
        assert word in printed


def test_a_sparse_law_reads_its_columns(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_csv(data / "sparse-scaling" / "t5-data.csv")
    made = table.select(
        "sparsity",
        params=24 * 12 * 768**2 * pl.col("scale"),
        seen=pl.col("steps") * 128 * 512,
        loss="val-loss",
    )
    made.write_csv(tmp_path / "t5.csv")
    fit_loss(tmp_path / "t5.csv", "sparse", columns="tokens=seen", json=True)
    assert json.loads(capsys.readouterr().out)["objective"] <= 4.881e-6


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    pl.DataFrame({"params": [1e9, 2e9], "loss": [3.0, 2.9]}).write_csv(tmp_path / "short.csv")
    with pytest.raises(ForescaleError, match="needs tokens"):
        fit_loss(tmp_path / "short.csv", "chinchilla")
