"""Numbers quoted in the README are those that the benchmarks wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def results(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("row", "law"),
    [
        ("Step Law, refit on these sweeps", "steplaw-refit"),
        ("**Step Law, as published** (the default)", "step-law"),
        ("Porian et al.", "porian"),
        ("DeepSeek (C = 6 N D)", "deepseek"),
    ],
)
def test_scores(row: str, law: str) -> None:
    scored = results("score")["sweeps"]["dense"][law]
    cells = " | ".join(f"{scored[reading]:.3f}" for reading in ("nearest", "linear", "smooth"))
    assert f"| {row} | {cells} |" in README


def test_moe_score() -> None:
    scored = results("score")["sweeps"]["moe"]["step-law"]
    assert " / ".join(f"{scored[r]:.3f}" for r in ("nearest", "linear", "smooth")) in README


def test_speed() -> None:
    plan, laws = results("plan"), results("laws")
    quoted = re.search(r"takes (0\.\d\d) of the CPU time", README)
    assert quoted is not None
    assert float(quoted[1]) == pytest.approx(plan["ratio_to_peer"], abs=0.006)
    assert plan["ratio_to_peer"] <= plan["target_ratio"]
    assert plan["heavy_modules_loaded"] == []
    rate = laws["workloads_per_cpu_second"]["step_law_arrays"]
    assert f"{rate / 1e6:.0f} million workloads a second" in README
    assert rate >= laws["target_workloads_per_second"]


def test_landscape() -> None:
    sweeps = results("landscape")["sweeps"]
    for text, row in (
        ("DeepSeek {:.2f} % expected and {:.2f} % measured", sweeps["dense"]["deepseek"]),
        ("Porian {:.2f} and {:.2f}", sweeps["dense"]["porian"]),
        ("Lingle's fit {:.2f} and {:.2f}", sweeps["dense"]["lingle"]),
        ("Ling's law {:.2f} and {:.2f}", sweeps["moe"]["ling-moe"]),
        ("the pooled refit {:.2f} and {:.2f}", sweeps["moe"]["step-law-pooled"]),
    ):
        assert text.format(row["expected"], row["measured"]) in " ".join(README.split())
