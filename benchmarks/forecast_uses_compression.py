"""Bits a value: C2FAR's law behind a range coder against general coders and those of time series, all restored exactly."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

import harness
from forecast_uses_data import CHECKPOINT, Series, azure, frame
from forescale.forecast import C2FAR
from forescale.forecast.uses import compress, decompress
from forescale.forecast.uses._range_coder import AdaptiveNumber, Decoder, Encoder


def compression() -> dict[str, Any]:
    """Hourly demand, all 24 series, and every fourth of them every five minutes."""
    return {"hourly": measured(azure(every=12)), "five_minutes": measured(azure()[::4])}


def measured(series: Series) -> dict[str, Any]:
    """Bits a value of whole numbers, restored exactly."""
    data, model = frame(series), C2FAR.from_reference(CHECKPOINT)
    contents: list[bytes] = []
    seconds = harness.call_cpu_seconds(lambda: contents.append(compress(model, data)))
    content = contents[0]
    restored = decompress(model, content).equals(data)
    apart = [np.diff(each, prepend=0) for each in series]
    bits = {"c2far": 8 * len(content) / len(data)}
    for name, press in pressers().items():
        for kind, rows in (("values", series), ("differences", apart)):
            packed = [row.astype("<i4").tobytes() for row in rows]
            bits[f"{name}, {kind}, each series alone"] = 8 * sum(len(press(p)) for p in packed) / len(data)
            bits[f"{name}, {kind}, all as one"] = 8 * len(press(b"".join(packed))) / len(data)
    bits["xor of doubles (Gorilla)"] = sum(xor_bits(each) for each in series) / len(data)
    coded = [order_zero(each.astype(int).tolist()) for each in apart]
    assert order_zero_read(coded[0], len(apart[0])) == apart[0].astype(int).tolist()
    bits["order 0, adaptive, differences"] = 8 * sum(map(len, coded)) / len(data)
    bits = {name: round(each, 3) for name, each in bits.items()}
    return {
        "series": len(series), "values": len(data), "restored": restored, "bits_per_value": bits,
        "cpu_seconds_to_compress": round(seconds, 1),
    }  # fmt: skip


def pressers() -> dict[str, Callable[[bytes], bytes]]:
    """General coders at their strongest."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "zlib": lambda content: zlib.compress(content, 9), "bz2": bz2.compress, "lzma": lzma.compress,
    }  # fmt: skip
    try:
        import zstandard
    except ImportError:
        return found
    compressor: Any = zstandard.ZstdCompressor(level=22)
    return {**found, "zstd": compressor.compress}


def xor_bits(values: np.ndarray[Any, Any]) -> int:
    """Size of the value stream of Pelkonen et al., "Gorilla", VLDB 2015, section 4.1.3."""
    words = [struct.unpack(">Q", struct.pack(">d", value))[0] for value in values]
    bits, window = 64, (-1, -1)  # leading and trailing zeros of the block in use
    for before, word in pairwise(words):
        xor = before ^ word
        if not xor:
            bits += 1
            continue
        leading, trailing = min(64 - xor.bit_length(), 31), (xor & -xor).bit_length() - 1
        if window[0] >= 0 and leading >= window[0] and trailing >= window[1]:
            bits += 2 + 64 - window[0] - window[1]
        else:
            window = (leading, trailing)
            bits += 2 + 5 + 6 + 64 - leading - trailing
    return bits


def order_zero(numbers: Sequence[int]) -> bytes:
    """Range coded by how often each number was seen; a new one by an escape and its bits."""
    encoder = Encoder()
    _walk(encoder, numbers)
    return encoder.finish()


def order_zero_read(content: bytes, count: int) -> list[int]:
    """What `order_zero` wrote."""
    return _walk(Decoder(content), [0] * count)


def _walk(coder: Encoder | Decoder, numbers: Sequence[int]) -> list[int]:
    places: dict[int, int] = {}
    known: list[int] = []
    counts, fresh = [1], AdaptiveNumber()  # the first place is the escape's
    found: list[int] = []
    for number in numbers:
        place = coder.code([0, *accumulate(counts)], places.get(number, 0))
        counts[place] += 1
        if place:
            found.append(known[place - 1])
            continue
        found.append(fresh.code_signed(coder, number))
        known.append(found[-1])
        counts.append(1)
        places[found[-1]] = len(known)
    return found
