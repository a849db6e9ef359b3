"""The order of sequences: exact for any position, each window once a pass, against a permutation in plain integers."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.train import _batches
from forescale.train._batches import Batches, permuted
from forescale.train._shards import TokenShards

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)


@st.composite
def orders(draw: st.DrawFn) -> Batches:
    seq_len = draw(st.integers(1, 9))
    tokens = np.arange(draw(st.integers(seq_len + 1, 300)), dtype="<u2")
    return Batches(tokens, seq_len=seq_len, seed=draw(st.integers(-3, 3)), shuffle=draw(st.booleans()))


def one_pass(order: Batches, epoch: int) -> Any:
    return order.at(epoch * order.sequences, order.sequences).numpy()


def assert_covers_once(order: Batches, epoch: int) -> None:
    """Over tokens that count up: windows lie end to end, each once, within the tokens."""
    rows = one_pass(order, epoch)
    starts = np.sort(rows[:, 0])
    assert (np.diff(rows, axis=1) == 1).all()
    assert (np.diff(starts) == order.seq_len).all()
    assert len(np.unique(rows[:, 1:])) == rows[:, 1:].size  # each target once


@given(order=orders(), position=st.integers(0, 2000), first=st.integers(0, 90), second=st.integers(0, 90))
@settings(max_examples=80, deadline=None)
def test_any_part_is_the_same_part_of_the_whole(order: Batches, position: int, first: int, second: int) -> None:
    whole = order.at(position, first + second)
    assert whole.dtype == torch.int64
    assert whole.shape == (first + second, order.seq_len + 1)
    assert torch.equal(whole, torch.cat([order.at(position, first), order.at(position + first, second)]))


@given(order=orders(), epoch=st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_a_pass_covers_each_window_once(order: Batches, epoch: int) -> None:
    assert_covers_once(order, epoch)


def test_the_check_sees_a_window_that_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(start: int, stop: int, size: int, _: list[int]) -> Any:
        return np.minimum(np.arange(start, stop), size - 2)

    monkeypatch.setattr(_batches, "permuted", faulty)
    with pytest.raises(AssertionError):
        assert_covers_once(Batches(np.arange(100), seq_len=5), 0)


@given(order=orders(), position=st.integers(0, 500), ranks=st.integers(1, 4), each=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_ranks_share_a_step_between_them(order: Batches, position: int, ranks: int, each: int) -> None:
    parts = [order.at(position + rank * each, each) for rank in range(ranks)]
    assert torch.equal(torch.cat(parts), order.at(position, ranks * each))


def plain_permutation(size: int, keys: list[int]) -> list[int]:
    """The same network with Python's integers, one place at a time."""
    bits = max(1, (size - 1).bit_length())
    low, wrap = bits // 2, 2**64 - 1

    def mixed(value: int) -> int:
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & wrap
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & wrap
        return value ^ (value >> 31)

    def network(value: int) -> int:
        high, rest = divmod(value, 2**low)
        for key, other in zip(keys[::2], keys[1::2], strict=True):
            high ^= mixed((rest + key) & wrap) % 2 ** (bits - low)
            rest ^= mixed((high + other) & wrap) % 2**low
        return high * 2**low + rest

    def walked(value: int) -> int:
        value = network(value)
        while value >= size:
            value = network(value)
        return value

    return [walked(place) for place in range(size)]


@given(size=st.integers(1, 600), keys=KEYS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_permutation_is_one_and_any_part_of_it_agrees(size: int, keys: list[int], data: st.DataObject) -> None:
    whole = permuted(0, size, size, keys).tolist()
    assert sorted(whole) == list(range(size))
    assert whole == plain_permutation(size, keys)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    assert permuted(start, stop, size, keys).tolist() == whole[start:stop]


def test_the_first_window_is_uniform_over_seeds() -> None:
    """Chi-squared of 1000 seeds over 10 windows: 27.9 is the 0.1 % point of 9 degrees of freedom."""
    tokens = np.arange(11 * 10)
    first = [int(Batches(tokens, seq_len=10, seed=seed).at(0, 1)[0, 0]) // 10 for seed in range(1000)]
    counts = np.bincount(first, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.9


def test_neighbours_in_the_order_lie_as_far_apart_as_by_chance() -> None:
    """The mean distance of two of n places is (n + 1) / 3, its error over n steps about 0.24 n / sqrt(n)."""
    n = 20_000
    places = permuted(0, n, n, [11, 22, 33, 44, 55, 66])
    distance = np.abs(np.diff(places)).mean()
    assert distance == pytest.approx((n + 1) / 3, abs=5 * 0.24 * n**0.5)


def test_passes_and_seeds_differ_in_order_and_offset() -> None:
    order = Batches(np.arange(1000), seq_len=10, seed=1)
    passes = [one_pass(order, epoch) for epoch in range(8)]
    assert len({tuple(rows[:, 0] // 10) for rows in passes}) == 8
    assert len({int(rows.min()) for rows in passes}) > 4
    other = Batches(np.arange(1000), seq_len=10, seed=2)
    assert not torch.equal(order.at(0, 50), other.at(0, 50))


def test_without_shuffling_windows_lie_as_in_the_text() -> None:
    order = Batches(np.arange(32), seq_len=10, shuffle=False)
    assert order.sequences == 3
    assert order.at(0, 4)[:, 0].tolist() == [0, 10, 20, 0]
    assert order.at(2, 1).tolist() == [list(range(20, 31))]


def test_a_memory_map_gives_the_tokens_of_its_part_also_after_pickling(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 2**32 - 1, 1000, dtype="<u4")
    tokens.tofile(tmp_path / "tokens.bin")
    shards = TokenShards(path=tmp_path / "tokens.bin", dtype="<u4", start=100, stop=900)
    assert np.array_equal(shards.array, tokens[100:900])
    again: TokenShards = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 1000
    assert torch.equal(Batches(again, seq_len=7).at(3, 200), Batches(tokens[100:900], seq_len=7).at(3, 200))


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (8, {"seq_len": 8}, "1 sequences of 8 tokens, which takes 9 tokens; 8 arrived: give more data"),
        (0, {"seq_len": 8}, "0 arrived"),
        (99, {"seq_len": 9, "least": 11}, "11 sequences of 9 tokens, which takes 108 tokens; 99 arrived"),
        (99, {"seq_len": 0}, "seq_len must be 1 or more; got 0"),
    ],
)
def test_too_little_data_says_how_much_is_needed(tokens: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        Batches(np.arange(tokens), **options)


@pytest.mark.parametrize(("seq_len", "least"), [(1, 1), (9, 1), (9, 11), (128, 16)])
def test_as_many_tokens_as_the_message_asks_for_are_enough(seq_len: int, least: int) -> None:
    needed = seq_len + 1 if least == 1 else (least + 1) * seq_len
    assert Batches(np.arange(needed), seq_len=seq_len, least=least).sequences >= least
    with pytest.raises(ForescaleError, match=f"takes {needed:,} tokens"):
        Batches(np.arange(needed - 1), seq_len=seq_len, least=least)


def test_a_position_before_the_start_is_an_error() -> None:
    with pytest.raises(ForescaleError, match="must be 0 or more; got -1 and 2"):
        Batches(np.arange(99), seq_len=9).at(-1, 2)


def test_a_batch_takes_well_under_a_millisecond() -> None:
    """Each batch of 16 × 129 tokens of a pass; the bound is about ten times what it takes."""
    order = Batches(np.arange(5_000_000, dtype="<u4"), seq_len=128)
    order.at(0, 16)
    started = time.process_time()
    for step in range(1000):
        order.at(16 * step, 16)
    assert time.process_time() - started < 0.5
