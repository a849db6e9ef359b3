"""Where a run will end: against laws in closed form, against real ends, and what an interval is for."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from watch_worlds import log_of, losses

from forescale.curves.watch import Log, watch
from forescale.curves.watch._end import Mixture, binned, noise_of
from forescale.curves.watch._rates import rates_of
from forescale.errors import ForescaleError

TOTAL = 4000


def rate(steps: np.ndarray, kind: str) -> np.ndarray:
    shares = np.clip((steps - 100) / (TOTAL - 100), 0, 1)
    down = {"linear": 1 - shares, "cosine": (1 + np.cos(math.pi * shares)) / 2, "flat": np.ones(len(steps))}[kind]
    return 1e-3 * np.minimum(steps / 100, 1) * down


def world(kind: str, seen: float) -> tuple[Log, float]:
    """A law of the linear family, 2.6 + 20 S^-0.5 + 0.15 rate / peak (S in steps at the peak), and its end."""
    steps = np.arange(1, TOTAL + 1.0)
    rates = rate(steps, kind) / 1e-3
    loss = 2.6 + 20 * (np.cumsum(rates) + 50) ** -0.5 + 0.15 * rates
    end = float(loss[-TOTAL // 50 :].mean())
    noisy = loss + 0.03 * np.random.default_rng(3).normal(size=TOTAL)
    count = int(seen * TOTAL)
    return log_of(noisy[:count], total=TOTAL, rate=rate(steps, kind)[:count]), end


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("seen", [0.3, 0.6, 0.9])
def test_the_end_of_a_law_lies_in_the_interval(kind: str, seen: float) -> None:
    log, end = world(kind, seen)
    found = watch(log).final_loss
    assert found is not None
    assert found.low < found.half_low < found.value < found.half_high < found.high
    assert found.low < end < found.high
    assert abs(found.value / end - 1) < (0.05 if seen < 0.5 else 0.02)


def test_the_schedule_matters() -> None:
    """The same losses under a rate at its peak end lower where it goes to zero than where it stays."""
    log, _ = world("flat", 0.5)
    down, flat = (watch(log, schedule=name).final_loss for name in ("wsd:decay=0.4", "constant"))
    assert down is not None
    assert flat is not None
    assert down.value < flat.value - 0.02


def test_an_unknown_schedule_widens() -> None:
    log, _ = world("linear", 0.5)
    known, unknown = watch(log).final_loss, watch(replace(log, rate=None)).final_loss
    assert known is not None
    assert unknown is not None
    assert known.schedule_known
    assert not unknown.schedule_known
    assert unknown.high - unknown.low > 1.3 * (known.high - known.low)
    assert "nothing says the schedule" in unknown.said


@pytest.mark.parametrize(("kind", "said"), [("linear", "a line to zero"), ("cosine", "a cosine to zero")])
def test_the_rates_so_far_name_the_schedule(kind: str, said: str) -> None:
    log, _ = world(kind, 0.5)
    found = rates_of(log, TOTAL)
    assert found.known
    assert said in found.said
    (_, rates), *_ = found.of.values()
    middles = (np.arange(len(rates)) + 0.5) / len(rates) * TOTAL
    np.testing.assert_allclose(rates / rates.max(), rate(middles, kind) / 1e-3, atol=0.02)


def test_a_rate_at_its_peak_leaves_open_what_follows() -> None:
    log, _ = world("flat", 0.5)
    found = rates_of(log, TOTAL)
    assert not found.known
    assert set(found.of) >= {"constant", "wsd:decay=0.2"}
    assert sum(share for share, _ in found.of.values()) == pytest.approx(1)


def test_a_schedule_that_is_none() -> None:
    with pytest.raises(ForescaleError, match="a schedule is one of"):
        watch(world("flat", 0.5)[0], schedule="slope")


def test_a_run_that_has_ended_is_its_mean() -> None:
    log = log_of(losses(2000), total=2000)
    found = watch(log).final_loss
    assert found is not None
    assert found.value == pytest.approx(log.loss[-40:].mean())  # 2 % of 2,000
    assert found.high - found.value == pytest.approx(1.645 * 0.03 / 40**0.5, rel=0.1)  # the noise of `losses`


@pytest.mark.parametrize(("seen", "enough"), [(0.7, True), (0.45, False)])
def test_records_before_a_change_of_level_are_left_out(seen: float, enough: bool) -> None:
    """A level that falls by 0.5 at 40 % of the run: the end is that of the law less 0.5."""
    log, end = world("linear", seen)
    loss = log.loss - 0.5 * (log.step >= 0.4 * TOTAL)
    found = watch(replace(log, loss=loss))
    assert [event.kind for event in found.events] == ["data change"]
    assert found.final_loss is not None
    assert "the level changed at step 1,6" in found.final_loss.said or "step 1,5" in found.final_loss.said
    assert ("what came before it is left out" in found.final_loss.said) == enough
    if enough:
        assert found.final_loss.low < end - 0.5 < found.final_loss.high
        assert found.final_loss.value == pytest.approx(end - 0.5, abs=0.1)


def test_data_that_are_seen_many_times_leave_much_open() -> None:
    """The same losses, once with data seen ten times: the training loss may go to zero."""
    log, _ = world("linear", 0.3)
    once, often = (watch(replace(log, epochs=epochs)).final_loss for epochs in (1.0, 10.0))
    assert once is not None
    assert often is not None
    assert often.low < once.low
    assert often.high - often.low > 1.5 * (once.high - once.low)
    assert "the data are seen 10 times" in often.said


@pytest.mark.parametrize("total", [60, 100, 200])
def test_few_records_are_enough(total: int) -> None:
    """Four records at 2 % of a run or later: wide, and the end of a run of that law lies inside."""
    steps = np.arange(1, total + 1.0) * 50
    loss = 2.6 + 20 * (steps + 50) ** -0.5 + 0.005 * np.random.default_rng(0).normal(size=total)
    log = Log(name="", step=steps[:4], loss=loss[:4], val_step=np.empty(0), val_loss=np.empty(0), total=steps[-1])
    found = watch(log).final_loss
    assert found is not None
    assert found.low < loss[-1] < found.high
    assert found.high - found.low > 0.3


def test_the_first_two_per_cent_are_too_early() -> None:
    log, _ = world("linear", 0.019)
    found = watch(log)
    assert found.final_loss is None
    assert found.notes[-1] == "too early: the end is forecast from 2% of the run on, step 80"


def test_a_loss_is_never_said_to_end_below_zero() -> None:
    steps = np.arange(1, 301.0)
    loss = 3 * np.exp(-steps / 60) * np.exp(0.2 * np.random.default_rng(0).normal(size=300))
    found = watch(log_of(loss, total=1000, epochs=5.0)).final_loss
    assert found is not None
    assert found.low == 0
    assert 0 <= found.half_low <= found.value <= found.half_high <= found.high


def test_one_gaussian_is_one_gaussian() -> None:
    one = Mixture(weight=np.ones(1), mean=np.array([3.0]), spread=np.array([0.3]), noise=0.4)
    assert one.quantile(0.95) == pytest.approx(norm.ppf(0.95, 3.0, 0.5), abs=1e-5)
    assert one.below(3.2, 2.0) == pytest.approx(norm.cdf(3.2, 3.0, (0.6**2 + 0.4**2) ** 0.5))


def test_noise_and_bins_do_not_see_a_spike() -> None:
    loss = losses(3000)
    spiked = loss.copy()
    spiked[1500:1505] += 4
    assert noise_of(spiked) == pytest.approx(0.03, rel=0.05)
    steps = np.arange(1, 3001.0)
    plain, hit = (binned(steps, each, 100.0) for each in (loss, spiked))
    assert np.abs(plain.loss - hit.loss).max() < 0.01


def test_half_of_llmc(data: Path, tmp_path: Path) -> None:
    """llm.c's GPT-2 run, from its first half with the rates that it logged: its last 2 % average 3.288 by its own log."""
    text = gzip.decompress((data / "training-telemetry" / "2024-10-13_llmc_gpt2-124m.csv.gz").read_bytes()).decode()
    lines = text.splitlines(keepends=True)
    (tmp_path / "half.csv").write_text("".join(lines[:9781]))
    found = watch(tmp_path / "half.csv", steps=19560)
    end = float(np.mean([float(line.split(",")[1]) for line in lines[-391:]]))
    assert found.final_loss is not None
    assert "cosine to zero" in found.final_loss.said
    assert found.final_loss.low < end < found.final_loss.high
    assert abs(found.final_loss.value / end - 1) < 0.01


@pytest.mark.slow
def test_multi_power_curves_end_inside(data: Path) -> None:
    """Of 18 curves, forecast half way with their rates, at least 15 end inside the 90 % interval (its claim less 2 sigma)."""
    inside = 0
    for file in sorted((data / "multi-power-law").glob("csv_*/*.csv")):
        step, rates, loss = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
        half, none = step <= 0.5 * step[-1], np.empty(0)
        log = Log(
            name=file.stem,
            step=step[half],
            loss=loss[half],
            rate=rates[half],
            val_step=none,
            val_loss=none,
            total=step[-1],
        )
        found, end = watch(log).final_loss, loss[step > 0.98 * step[-1]].mean()
        assert found is not None
        inside += found.low <= end <= found.high
    assert inside >= 15
