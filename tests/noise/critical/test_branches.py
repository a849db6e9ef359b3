"""The critical batch along one run, from branches; and the branches to train."""

from __future__ import annotations

import csv
import dataclasses
import io
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.noise.critical import (
    Branch,
    Branched,
    branch_csv,
    branch_design,
    branched,
    branched_runs,
    doublings,
    ema,
    ema_noise,
    largest_factor,
)
from forescale.runs import read_runs


def test_the_average_is_the_closed_form() -> None:
    losses = [3.0, 2.0, 4.0, 1.0]
    # s <- (s + x) / 2, begun at the first: 3/8 + 2/8 + 4/4 + 1/2
    assert ema(losses) == pytest.approx(3 / 8 + 2 / 8 + 4 / 4 + 1 / 2)
    assert ema(losses, 0.0) == 1.0
    assert ema([5.0]) == 5.0


def test_the_averages_noise_is_that_of_repeats() -> None:
    rng = np.random.default_rng(0)
    curves = 3 + 0.02 * rng.normal(size=(2000, 200))
    expected = np.std([ema(curve.tolist()) for curve in curves])
    found = ema_noise(curves[0].tolist())
    assert found == pytest.approx(expected, rel=0.2)
    assert expected == pytest.approx(0.02 / math.sqrt(3), rel=0.05)  # (1 - a) / (1 + a) = 1 / 3
    assert ema_noise([3.0] * 7) is None


def test_the_largest_batch_that_is_not_worse() -> None:
    assert largest_factor({1: 2.60, 2: 2.605, 4: 2.608, 8: 2.63}) == 4
    assert largest_factor({1: 2.60, 2: 2.59, 4: 2.605}) == 2  # worse than 2 by 0.015, though not than 1
    assert largest_factor({1: 2.60, 2: 2.62, 4: 2.63}) == 1
    assert largest_factor({1: 2.60, 2: 2.605, 4: 2.63}, epsilon=0.1) == 4


@given(st.dictionaries(st.integers(1, 64), st.floats(2, 3), min_size=2, max_size=8), st.floats(0, 0.2))
def test_it_is_the_definition(losses: dict[int, float], epsilon: float) -> None:
    found = largest_factor({float(k): v for k, v in losses.items()}, epsilon)
    passing = [k for k in losses if all(losses[k] <= losses[j] + epsilon for j in losses if j < k)]
    assert found == max(passing)


def test_no_noise_no_spread_and_much_noise_a_wide_interval() -> None:
    losses = {1: 2.60, 2: 2.60, 4: 2.60, 8: 2.70}
    sure = branched(1e10, 1e6, [Branch(factor=k, loss=v, noise=1e-6) for k, v in losses.items()])
    assert (sure.factor, sure.critical_batch, sure.low, sure.high) == (4, 4e6, 4e6, 4e6)
    assert sure.next_batch == 8e6
    assert not sure.note
    losses[8] = 2.62
    unsure = branched(1e10, 1e6, [Branch(factor=k, loss=v, noise=0.05) for k, v in losses.items()])
    assert (unsure.low or 0) < 4e6 < (unsure.high or 0)


def test_the_edges_are_said() -> None:
    flat = branched(1e10, 1e6, [Branch(factor=k, loss=2.6) for k in (1, 2, 4)])
    assert flat.next_batch is None
    assert "a bound from below; try larger ones" in flat.note
    assert "no interval" in flat.note
    assert (flat.low, flat.high) == (None, None)
    steep = branched(1e10, 1e6, [Branch(factor=k, loss=2.6 + 0.1 * k) for k in (1, 2, 4)])
    assert steep.critical_batch == 1e6
    assert "may be smaller yet" in steep.note


def world(noise: float = 0.003) -> pl.DataFrame:
    """Branches whose excess loss is 0.01 B / B_crit: at twice the critical batch twice what counts as none."""
    rng = np.random.default_rng(5)
    rows = []
    for checkpoint, critical in ((1e10, 1.2e6), (1e11, 5e6)):
        for factor in (1, 2, 4, 8, 16):
            for i in range(40):
                batch = factor * 5e5
                excess = max(0.0, 0.02 * math.log2(batch / critical))
                loss = 2.8 - 1e-4 * i + excess + noise * rng.normal()
                rows.append((checkpoint, float(factor), batch, 5e7 * (i + 1), loss))
    names = ["checkpoint_tokens", "factor", "batch_tokens", "tokens", "loss"]
    return pl.DataFrame(rows, schema=names, orient="row")


def test_a_table_of_curves_gives_the_planted_batches() -> None:
    found = branched_runs(read_runs(world(), needs=("batch_tokens", "loss")))
    assert [each.checkpoint_tokens for each in found] == [1e10, 1e11]
    assert [each.batch_tokens for each in found] == [5e5, 5e5]
    # The largest tried batch whose excess is below 0.01: B_crit x sqrt(2) at most.
    assert [each.critical_batch for each in found] == [1e6, 4e6]
    for each in found:
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.critical_batch <= each.high


def test_a_planted_fault_is_seen() -> None:
    broken = world().with_columns(loss=pl.when(pl.col("factor") == 4).then(9.0).otherwise(pl.col("loss")))
    found = branched_runs(read_runs(broken, needs=("batch_tokens", "loss")))
    assert found[1].critical_batch != 2e6
    assert found[0].factor < 4


def test_rows_that_were_smoothed_already() -> None:
    table = pl.DataFrame({"checkpoint_tokens": [1e10] * 3, "factor": [1, 2, 4], "batch_tokens": [1e6, 2e6, 4e6]})
    found = branched_runs(
        read_runs(table.with_columns(loss=pl.Series([2.6, 2.605, 2.7])), needs=("batch_tokens", "loss"))
    )
    assert found[0].critical_batch == 2e6
    assert found[0].low is None


def measured(*path: tuple[float, float]) -> list[Branched]:
    """Checkpoints of a run of 1M tokens a batch."""
    branches = [Branch(factor=k, loss=2.5) for k in (1, 2)]
    return [dataclasses.replace(branched(tokens, 1e6, branches), critical_batch=critical) for tokens, critical in path]


def test_a_batch_doubles_where_the_critical_batch_is_twice_it() -> None:
    # 1M at 10B and 4M at 160B tokens: D^(1/2) between, so 2M at 40B and 4M at 160B.
    found = doublings(measured((1e10, 1e6), (1.6e11, 4e6)))
    assert found == pytest.approx((4e10, 1.6e11))
    assert doublings(measured((1e10, 1e6), (1e11, 1.9e6))) == ()
    early = doublings(measured((1e10, 5e6)))  # twice at the first checkpoint: known no earlier
    assert early == pytest.approx((1e10, 1e10))
    assert early[0] < early[1]


def test_the_branches_to_train() -> None:
    runs = branch_design([1e10, 5e10], 1e6, 3e-4, factors=(1, 4))
    assert [(r.checkpoint_tokens, r.factor, r.batch_tokens) for r in runs] == [
        (1e10, 1, 1e6),
        (1e10, 4, 4e6),
        (5e10, 1, 1e6),
        (5e10, 4, 4e6),
    ]
    assert runs[1].learning_rate == pytest.approx(6e-4)  # sqrt(4)
    assert branch_design([1e10], 1e6, 3e-4, factors=(4,), optimizer="sgd")[0].learning_rate == pytest.approx(1.2e-3)
    assert (runs[0].tokens, runs[0].steps, runs[1].steps) == (2e9, 2000, 500)  # 2 billion tokens, as in the paper
    rows = list(csv.DictReader(io.StringIO(branch_csv(runs))))
    assert float(rows[3]["learning_rate"]) == runs[3].learning_rate
    assert len(rows) == 4


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(
        ForescaleError, match="needs two branches or more, each of its own factor; at 10B tokens there are 1"
    ):
        branched(1e10, 1e6, [Branch(factor=1, loss=2.6)])
    with pytest.raises(ForescaleError, match="epsilon is the loss that counts as none, 0 or more; got -1"):
        branched(1e10, 1e6, [Branch(factor=k, loss=2.6) for k in (1, 2)], epsilon=-1)
    with pytest.raises(ForescaleError, match="alpha is the weight of the past"):
        ema([1.0], 1.0)
    with pytest.raises(ForescaleError, match="a branch needs one loss at least"):
        ema([])
    with pytest.raises(ForescaleError, match="factor is missing in"):
        branched_runs(read_runs(world().drop("factor"), needs=("batch_tokens", "loss")))
    same = read_runs(world().with_columns(batch_tokens=pl.lit(5e5)), needs=("batch_tokens", "loss"))
    with pytest.raises(ForescaleError, match="its factor times the run's"):
        branched_runs(same)
    with pytest.raises(ForescaleError, match="the optimizer of branches is adam or sgd; got 'muon'"):
        branch_design([1e10], 1e6, 3e-4, optimizer="muon")
    with pytest.raises(ForescaleError, match="doublings need a checkpoint"):
        doublings([])
    with pytest.raises(ForescaleError, match="branches need checkpoints and factors"):
        branch_design([], 1e6, 3e-4)
