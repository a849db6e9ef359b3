"""Numbers on the page of `forescale watch` are those that its benchmark wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts" / "watch.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "watch.json").read_text(encoding="utf-8"))


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


@pytest.mark.parametrize("part", ["schedule known", "schedule hidden"])
def test_forecasts(part: str) -> None:
    for share, told in MEASURED["forecasts"][part].items():
        of = told["all"]
        holds = [f"{percent(of[f'within_{k}'], 0)}, {percent(of[f'width_{k}'])}" for k in (50, 90)]
        errors = [percent(of[name]) for name in ("error", "error_stays", "error_power_law")]
        assert f"| {100 * float(share):.0f} % | {of['cases']} | {' | '.join((*errors, *holds))} |" in PAGE


def test_the_intervals_hold_what_they_claim() -> None:
    """The schedule known, the 90 % interval holds 90 % or more from 5 % of a run on, by the widths of the other sources."""
    for share, told in MEASURED["forecasts"]["schedule known"].items():
        assert told["all"]["within_90"] >= 0.9 or float(share) < 0.05, share


def test_events() -> None:
    false_alarms = MEASURED["events"]["false_alarms_per_10k"]["all"]
    assert f"nominally 0.6 together: {false_alarms['together']:.2f}" in PAGE
    assert f"{MEASURED['events']['records']:,} records" in PAGE
    for fault in MEASURED["events"]["faults"]:
        seen = fault["watch"]
        edges = " to ".join(f"{100 * edge:.0f}" for edge in seen["seen_95"])
        assert f"| {fault['planted']} | {percent(seen['seen'], 0)} ({edges})" in PAGE
