"""Numbers quoted on the page of loss curves are those that the benchmark wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forescale.curves._law import ENDS

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "concepts" / "curves.md").read_text(encoding="utf-8").split())
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "curves.json").read_text(encoding="utf-8"))
ROWS = {
    "auto": "**chosen by itself** (memory, each time)",
    "multi-power": "multi-power, to convergence",
    "momentum": "momentum",
    "functional": "functional",
    "linear": "linear",
}


def short(value: float, places: int) -> str:
    return f"{value:.{places}f}".replace("0.", ".", 1)


@pytest.mark.parametrize("law", ROWS)
def test_errors_on_curves_not_fitted(law: str) -> None:
    cells = " | ".join(short(size[law]["pred_e"], 5) for size in FOUND["multi_power"].values())
    assert f"| {ROWS[law]} | {cells} |" in PAGE


def test_the_ends_of_the_annealed_run() -> None:
    ends = [size["auto"]["curves"]["wsd_20000_24000"]["final"] for size in FOUND["multi_power"].values()]
    assert "off by {}, +{} and **{}** nats".format(*(short(end, 4) for end in ends)) in PAGE
    assert all(size["auto"]["law"] == "memory" for size in FOUND["multi_power"].values())


def test_one_curve_alone() -> None:
    ends = [split["auto"]["final"] for split in FOUND["gpt100m"].values()]
    assert f"ends {short(-ends[0], 3)} lower than measured; from 8-1-1 the cosine {short(ends[1], 3)} higher" in PAGE


def test_final_losses() -> None:
    means = [split["error"]["mean"] for split in FOUND["final"].values() if "error" in split]
    horizon, family, peak = (short(mean, 4) for mean in means)
    assert f"is {horizon} from horizons to 35k steps to 50k, {family} from WSD to cosine, and {peak} from peaks" in PAGE
    assert set(FOUND["final"]["top-2 hits at 50k"].values()) == {"4 of 4"}
    assert f"is off by {short(100 * FOUND['sizes']['mean error'], 1)} %" in PAGE
    assert FOUND["divergence"]["diverged"] == 1


def test_intervals_of_ends() -> None:
    found = FOUND["intervals"]
    assert f"widened by {ENDS}, as laws err more" in PAGE
    assert f"hold {100 * found['held by 80 %']:.0f} % of the ends of {found['ends']:,} others" in PAGE
    assert 0.95 < found["width that would hold 80 %"] < 1.05
    held = {
        size: [curve["end held by 80 %"] for curve in each["auto"]["curves"].values()]
        for size, each in FOUND["multi_power"].items()
    }
    assert f"it holds {sum(map(sum, held.values()))} of 9 ends" in PAGE
    assert all(all(each) for size, each in held.items() if size != "400")
