"""Numbers on the pages of a forecaster's uses and of SutraNets are those that the benchmark wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "forecast_uses.json").read_text(encoding="utf-8"))
USES, SUTRA = (
    " ".join((ROOT / "docs" / "concepts" / name).read_text(encoding="utf-8").split())
    for name in ("forecast-uses.md", "sutranets.md")
)
DETECTORS = {
    "ARTime": "ARTime",
    "Numenta HTM": "numenta",
    "CAD OSE": "contextOSE",
    "earthgecko Skyline": "earthgeckoSkyline",
    "KNN CAD": "knncad",
    "the values' own excess, no model": "values' excess",
    "beyond the range of all earlier values, no model": "beyond all earlier values",
    "**C2FAR, calibrated, and the values' excess**": "C2FAR, calibrated, and values' excess",
    "relative entropy": "relativeEntropy",
    "random cut forest": "randomCutForest",
    "Twitter ADVec": "twitterADVec",
    "**C2FAR, calibrated**": "C2FAR, calibrated",
    "windowed Gaussian": "windowedGaussian",
    "C2FAR, bits": "C2FAR, bits",
    "random": "random",
}


@pytest.mark.parametrize("row", DETECTORS)
def test_detectors(row: str) -> None:
    found = FOUND["anomalies"]["detectors"][DETECTORS[row]]
    scores = [f"{found[part]['score']:.1f}" for part in ("all", "half_b", "known")]
    f1 = [f"{found['all'][name]:.2f}" for name in ("f1", "best_f1")]
    assert f"| {row} | {' | '.join(scores + f1)} |" in USES


def test_the_scorer_gives_what_was_published() -> None:
    """Against the benchmark's own results file, of other hands' code."""
    apart = FOUND["anomalies"]["our_score_of_theirs_less_published"]
    assert len(apart) == 15
    assert {name for name, each in apart.items() if abs(each) > 1e-5} == {"htmjava", "random"}
    assert all(each > -1e-5 for each in apart.values())
    assert (FOUND["anomalies"]["files"], FOUND["anomalies"]["windows"]) == (58, 116)


def test_what_is_said_of_detection() -> None:
    found = {name: each["all"] for name, each in FOUND["anomalies"]["detectors"].items()}
    single = [each["score"] for name, each in found.items() if "training" in name]
    assert f"Single trainings score {min(single):.1f} to {max(single):.1f}, calibrated" in USES
    assert found["C2FAR, calibrated, and values' excess"]["score"] < found["values' excess"]["score"]
    assert found["beyond all earlier values"]["found"] > 116 / 2


@pytest.mark.parametrize("data", ["azure_hourly", "m4_hourly"])
@pytest.mark.parametrize("gap", [1, 3, 12, 24])
def test_gaps(data: str, gap: int) -> None:
    found = FOUND["interpolation"][data][f"gap {gap}"]
    pairs = [f"{100 * found['nd'][way]:.1f}; {100 * found['nd_mean_of_series'][way]:.1f}" for way in found["nd"]]
    more = [f"{100 * found['wql']:.1f}", f"{100 * found['coverage_80']:.0f} %", f"{found['effective_paths'][1]:.0f}"]
    name = "Azure" if data == "azure_hourly" else "M4"
    assert f"| {name}, {gap} | {' | '.join(pairs + more)} |" in USES


def test_where_gaps_are_filled_best() -> None:
    cells = [
        (data, gap, FOUND["interpolation"][data][f"gap {gap}"])
        for data in ("azure_hourly", "m4_hourly")
        for gap in (1, 3, 12, 24)
    ]
    lost = [(data, gap) for data, gap, each in cells if _best(each["nd_mean_of_series"]) != "C2FAR"]
    assert lost == [("azure_hourly", 1)]
    assert sum(_best(each["nd"]) == "C2FAR" for _, _, each in cells) == 4
    worth = FOUND["interpolation"]["azure_hourly"]["gap 24"]["effective_paths"][0]
    assert f"has about {worth:.0f} effective paths" in USES


def _best(errors: dict[str, float]) -> str:
    return min(errors, key=errors.__getitem__)


MODELS = {
    "plain | 240": "plain, equal steps",
    "plain | 870": "plain, more steps",
    "SutraNet, backfill | 240": "backfill, alternating",
    "SutraNet, regular | 240": "regular, alternating",
}


@pytest.mark.parametrize("row", MODELS)
def test_errors_ahead(row: str) -> None:
    found = FOUND["sutranets"]["models"][MODELS[row]]
    blocks = found["nd_by_four_hours"]
    errors = [f"{100 * each:.2f}" for each in (found["nd"], blocks[0], blocks[-1])]
    cells = [f"{found['cpu_seconds']:.0f}", *errors, f"{found['growth']:.2f}", f"{100 * found['coverage_80']:.0f} %"]
    assert f"| {row} | {' | '.join(cells)} |" in SUTRA
    assert row.endswith(f" {found['steps']}")


def test_what_is_said_of_sutranets() -> None:
    equal, longer, backfill, _ = (FOUND["sutranets"]["models"][name] for name in MODELS.values())

    def less(a: Any, b: Any) -> str:
        return f"{100 * (1 - a / b):.0f} %"

    ours, theirs = backfill["nd_by_four_hours"], longer["nd_by_four_hours"]
    assert f"a SutraNet has {less(backfill['nd'], equal['nd'])} less error over the day" in SUTRA
    assert (
        f"it has {less(backfill['nd'], longer['nd'])} less over the day and {less(ours[-1], theirs[-1])} less" in SUTRA
    )
    assert f"but {100 * (ours[0] / theirs[0] - 1):.0f} % **more** in the first four hours" in SUTRA
    assert f"{backfill['parameters'] / longer['parameters']:.0f} times the parameters" in SUTRA
    naive = FOUND["sutranets"]["naive_nd"]["the value a day before"]
    assert f"an ND of {100 * naive:.2f} %" in SUTRA
    assert all(naive < each["nd"] for each in FOUND["sutranets"]["models"].values())


def test_bits_a_value() -> None:
    hourly, five = (FOUND["compression"][name] for name in ("hourly", "five_minutes"))
    assert (hourly["restored"], five["restored"]) == (True, True)
    assert f"24 hourly series ({hourly['values']:,} values)" in USES
    assert f"five minutes ({five['values']:,} values)" in USES
    ways = {
        "C2FAR": "c2far",
        "order 0, adaptive, of the differences": "order 0, adaptive, differences",
        "XOR of doubles, as Gorilla": "xor of doubles (Gorilla)",
    }
    for row, name in ways.items():
        cells = [f"{each['bits_per_value'][name]:.2f}" for each in (hourly, five)]
        assert f"| {row} | {cells[0]} | | {cells[1]} | |" in USES
    names = {"bz2, of the values; of the differences": "bz2", "zstd -22": "zstd", "lzma": "lzma", "zlib -9": "zlib"}
    for row, name in names.items():
        cells = [
            "; ".join(f"{each['bits_per_value'][f'{name}, {kind}, {how}']:.2f}" for kind in ("values", "differences"))
            for each in (hourly, five)
            for how in ("each series alone", "all as one")
        ]
        assert f"| {row} | {' | '.join(cells)} |" in USES
    alone = [
        hourly["bits_per_value"][f"{name}, {kind}, each series alone"] / hourly["bits_per_value"]["c2far"]
        for name in names.values()
        for kind in ("values", "differences")
    ]
    assert f"general coders need {100 * (min(alone) - 1):.0f} to {100 * (max(alone) - 1):.0f} % more" in USES
    best = five["bits_per_value"]["bz2, differences, each series alone"]
    assert best < 1.03 * five["bits_per_value"]["c2far"]
    seconds = [f"{each['cpu_seconds_to_compress']:.0f}" for each in (hourly, five)]
    assert f"takes {seconds[0]} CPU seconds for the hourly series and {seconds[1]} for the others" in USES
    ours, lzma = (hourly["bits_per_value"][name] for name in ("c2far", "lzma, differences, all as one"))
    assert abs(lzma / ours - 1) < 0.01
