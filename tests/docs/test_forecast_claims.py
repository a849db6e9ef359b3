"""Numbers quoted on the page of forecasting are those that the benchmarks wrote."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
PAGE = " ".join((ROOT / "docs" / "concepts" / "forecast.md").read_text(encoding="utf-8").split())
NAMES = {"levels": "**levels 20 x 20 x 20**", "flat": "flat", "normal": "normal", "student-t": "Student-t"}
DATA = ("m4_hourly", "azure_hourly")


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def rows(data: str, law: str) -> list[dict[str, Any]]:
    whole = [row for row in results("forecast_accuracy")["rows"] if row["every"] == 1]
    return [row for row in whole if (row["data"], row["law"]) == (data, law)]


def short(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


def mean(found: list[dict[str, Any]], score: str) -> float:
    return fmean(row["scores"][score] for row in found)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("law", NAMES)
def test_the_laws_of_three_seeds(data: str, law: str) -> None:
    found = rows(data, law)
    assert {row["seed"] for row in found} == {0, 1, 2}
    pooled = [row["scores"]["wql"] for row in found]
    cells = [
        f"{short(fmean(pooled))} ({short(min(pooled))} to {short(max(pooled))})",
        short(mean(found, "wql_macro")),
        f"{100 * mean(found, 'coverage_80'):.1f} %",
        f"{fmean(row['held_out_nats'] for row in found):.2f}",
    ]
    assert f"| {NAMES[law]} | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize(("data", "steps"), [("m4_hourly", "1,500 steps"), ("azure_hourly", "at most 400 steps")])
def test_the_first_rows(data: str, steps: str) -> None:
    found = rows(data, "levels")
    cells = [short(mean(found, "wql")), short(mean(found, "wql_macro")), f"{100 * mean(found, 'coverage_80'):.1f} %"]
    assert f"| C2FAR, {steps}, 100 paths, mean of three seeds | {' | '.join(cells)} |" in PAGE


def test_the_backbones() -> None:
    names = {"levels": "LSTM, one layer (the default)", "transformer": "transformer, two layers, learning rate 2e-3"}
    found = {row["law"]: row for row in results("forecast_accuracy")["rows"] if row["every"] == 6}
    for law, name in names.items():
        row = found[law]
        cells = [
            short(row["scores"]["wql"]),
            short(row["scores"]["wql_macro"]),
            f"{100 * row['scores']['coverage_80']:.1f} %",
            f"{row['parameters']:,}",
            f"{row['train_cpu_seconds']:.0f}",
            f"{row['paths_per_cpu_second']:,}",
        ]
        assert f"| {name} | {' | '.join(cells)} |" in PAGE
    longer = found["transformer"]["train_cpu_seconds"] / found["levels"]["train_cpu_seconds"]
    slower = found["levels"]["paths_per_cpu_second"] / found["transformer"]["paths_per_cpu_second"]
    assert f"{longer:.1f} times as long to train and {slower:.1f} times as long to sample" in PAGE


def test_seconds_of_training() -> None:
    m4, azure = (fmean(row["train_cpu_seconds"] for row in rows(data, "levels")) for data in DATA)
    assert f"training took {m4:.0f} CPU seconds" in PAGE
    assert f"on Azure {azure:.0f}," in PAGE


def test_sampling() -> None:
    found = results("forecast_speed")
    ours, once, published = found["paths_per_cpu_second"].values()
    assert f"| ours | {ours} |" in PAGE
    assert f"the conditioning window once | {once} |" in PAGE
    assert f"as published | {published} |" in PAGE
    once, published = found["ratio"].values()
    assert f"{once} times the changed code and {published} times the published one" in PAGE


def test_steps_of_training() -> None:
    sizes = results("forecast_training")["sizes"].values()
    for size in sizes:
        assert " | ".join(f"{each:.1f}" for each in size["ms_per_step"].values()) in PAGE
        counts = size["parameters"].values()
        assert max(counts) < 1.05 * min(counts)
    ratios = [ratio for size in sizes for ratio in size["ratio"].values()]
    assert f"{min(ratios):.1f} to {max(ratios):.1f} times the steps a second" in PAGE


def test_the_readme() -> None:
    assert f"weighted quantile loss is {short(mean(rows('m4_hourly', 'levels'), 'wql'))} (three seeds" in README
    ratios = [ratio for size in results("forecast_training")["sizes"].values() for ratio in size["ratio"].values()]
    assert "a third to a half of DeepAR's CPU time" in README
    assert 2 <= min(ratios) <= max(ratios) <= 3
