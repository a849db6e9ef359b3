"""Which runs are ended: the dominated, the diverged, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from race_curves import by_law, ends, hagele, mean_near

from forescale import ForescaleError
from forescale.sweep._run import DIVERGED
from forescale.sweep.race import Race, _forecast, decide, diverged

FINISHED = [by_law(p, noise=0.01) for p in (0.003, 0.006, 0.012)]


def test_a_run_far_behind_is_ended_and_the_reason_says_where_it_would_have_come() -> None:
    curves = [
        *FINISHED,
        by_law(0.0003, key="slow", noise=0.01).until(0.5),
        by_law(0.009, noise=0.01).until(0.5),
    ]
    why = decide(curves)
    assert list(why) == ["slow"]
    assert why["slow"].startswith("dominated: it would end at ")
    assert f"{min(ends(FINISHED)):.4g} of " in why["slow"]


def test_a_run_that_looks_bad_while_its_rate_is_high_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = [by_law(p, noise=0.003) for p in (0.002, 0.004, 0.006)]
    hot = by_law(0.012, key="hot", noise=0.003)
    assert mean_near(hot, 0.4) > max(mean_near(c, 0.4) for c in finished[1:])
    assert hot.end < min(ends(finished))
    assert not decide([*finished, hot.until(0.4)])
    for name in ("HOT", "BEHIND"):  # a fault: without the schedule's laws differences stay as they are
        monkeypatch.setattr(_forecast, name, 0.0)
    assert "hot" in decide([*finished, hot.until(0.4)])


def test_nothing_ends_before_its_time_or_without_enough_to_compare_with() -> None:
    slow = by_law(0.0003, key="slow", noise=0.01)
    assert not decide([*FINISHED, slow.until(0.2)])
    assert not decide([FINISHED[0], slow.until(0.8)])
    assert decide([FINISHED[0], slow.until(0.8)], Race(finished=1))
    assert not decide([slow.until(0.8)], Race(finished=1))
    assert not decide([*FINISHED, slow.until(0.5)], Race(least=0.6))


def test_a_margin_keeps_runs_that_end_near_the_best() -> None:
    best = min(FINISHED, key=lambda c: c.end)
    near = replace(by_law(0.012, key="near", noise=0.01, gap=0.02)).until(0.8)
    assert best.end < near.loss[-1]
    assert "near" in decide([*FINISHED, near])
    assert not decide([*FINISHED, near], Race(margin=0.05))


def test_a_higher_confidence_ends_no_more_runs() -> None:
    curves = [*FINISHED, *(by_law(p, key=f"r{p}", noise=0.01).until(0.4) for p in np.geomspace(0.0003, 0.03, 9))]
    ended = [set(decide(curves, Race(confidence=c))) for c in (0.8, 0.95, 0.99)]
    assert ended[2] <= ended[1] <= ended[0]
    assert ended[0]


def test_the_best_running_run_is_held_against_the_others() -> None:
    good = by_law(0.012, key="good", noise=0.003)
    bad = by_law(0.001, key="bad", noise=0.003)
    finished = [by_law(p, noise=0.003) for p in (0.0007, 0.0008)]
    assert "bad" in decide([*finished, good.until(0.9), bad.until(0.9)])
    assert "bad" not in decide([*finished, bad.until(0.9)])


@pytest.mark.parametrize("steps", [15_000, 25_000, 35_000, 50_000])
def test_of_the_real_runs_the_diverged_one_is_cut_and_no_other(data: Path, steps: int) -> None:
    for curve in hagele(data, steps):
        shares = np.arange(1, 21) / 20
        cut = [share for share in shares if diverged(curve.until(share))]
        assert bool(cut) == (curve.end > 5)  # one run, of a rate of 0.005, ended at 7.6
        assert not cut or cut[0] <= 0.2


def test_a_spike_that_heals_is_no_divergence_and_a_loss_that_stays_lost_is() -> None:
    curve = replace(by_law(0.01), key="lost", loss=3 + 2.5 * np.exp(-np.arange(800) / 50))
    at = (curve.progress > 0.4) & (curve.progress <= 0.45)
    assert not diverged(replace(curve, loss=np.where(at, 8.0, curve.loss)).until(0.46))
    lost = replace(curve, loss=np.where(curve.progress > 0.4, 4.5, curve.loss))
    assert not diverged(lost.until(0.45))
    why = decide([lost.until(0.52)])["lost"]
    assert why.startswith(DIVERGED)
    assert why.endswith("has been above 4.5 for a tenth of the run")


def test_a_run_that_never_learns_is_cut() -> None:
    curve = by_law(0.01)
    stuck = replace(curve, loss=np.linspace(5.5, 6.0, len(curve.loss)))
    assert "began with" in diverged(stuck.until(0.15))
    assert not diverged(stuck.until(0.1))


@pytest.mark.parametrize(
    "wrong",
    [{"confidence": 1.0}, {"confidence": 0.5}, {"margin": -1.0}, {"least": 0.1}, {"finished": 0}, {"references": 0}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ForescaleError, match=next(iter(wrong))):
        Race(**wrong)
