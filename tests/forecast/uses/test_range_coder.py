"""The range coder: what it restores, and how close it comes to the entropy."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forescale.forecast.uses._range_coder import AdaptiveBit, AdaptiveNumber, Decoder, Encoder, code_below


@given(st.lists(st.integers(-(2**60), 2**60), max_size=40), st.lists(st.booleans(), max_size=60))
def test_numbers_and_bits_are_restored(numbers: list[int], bits: list[bool]) -> None:
    def walk(coder: Encoder | Decoder, numbers: list[int], bits: list[int]) -> tuple[list[int], list[int]]:
        adaptive, bit = AdaptiveNumber(), AdaptiveBit()
        return [adaptive.code_signed(coder, n) for n in numbers], [bit.code(coder, b) for b in bits]

    told = [int(bit) for bit in bits]
    encoder = Encoder()
    walk(encoder, numbers, told)
    assert walk(Decoder(encoder.finish()), [0] * len(numbers), [0] * len(bits)) == (numbers, told)


@given(st.lists(st.tuples(st.integers(1, 2**40), st.floats(0, 1, exclude_max=True)), max_size=30))
def test_numbers_below_a_limit_are_restored(pairs: list[tuple[int, float]]) -> None:
    told = [(limit, int(limit * share)) for limit, share in pairs]
    encoder = Encoder()
    for limit, number in told:
        code_below(encoder, limit, number)
    decoder = Decoder(encoder.finish())
    assert [code_below(decoder, limit, 0) for limit, _ in told] == [number for _, number in told]


def test_a_carry_runs_back_through_full_bytes() -> None:
    """The last symbol of a narrow table, again and again, keeps the low end just below a carry."""
    encoder, table = Encoder(), (0, 65_535, 65_536)
    symbols = ([1] * 9 + [0]) * 300
    for symbol in symbols:
        encoder.code(table, symbol)
    decoder = Decoder(encoder.finish())
    assert [decoder.code(table, 0) for _ in symbols] == symbols


def test_the_length_is_the_entropy() -> None:
    """Shannon's bound, for 20,000 symbols of known odds: within a tenth of a per cent and two bytes."""
    counts = np.array([40_000, 20_000, 5_000, 500, 36])
    symbols = np.random.default_rng(0).choice(5, 20_000, p=counts / counts.sum())
    encoder, table = Encoder(), [0, *counts.cumsum().tolist()]
    for symbol in symbols.tolist():
        encoder.code(table, symbol)
    bits = -sum(math.log2(counts[symbol] / counts.sum()) for symbol in symbols)
    assert bits <= 8 * len(encoder.finish()) <= 1.001 * bits + 16


def test_another_table_does_not_restore_the_symbols() -> None:
    encoder = Encoder()
    symbols = [0, 1, 2, 1, 0, 2, 2, 1] * 5
    for symbol in symbols:
        encoder.code((0, 5, 9, 16), symbol)
    decoder = Decoder(encoder.finish())
    assert [decoder.code((0, 6, 9, 16), 0) for _ in symbols] != symbols


def test_repeats_cost_next_to_nothing() -> None:
    encoder, adaptive = Encoder(), AdaptiveNumber()
    for _ in range(8_000):
        adaptive.code_signed(encoder, 0)
    assert len(encoder.finish()) < 20
