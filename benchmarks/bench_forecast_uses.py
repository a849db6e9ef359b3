"""What C2FAR's law is good for beside forecasts, and what SutraNets do to long ones; each against simple ways, in one run.

`python bench_forecast_uses.py --nab FOLDER` runs every part; names of parts run those alone, and keep the others' results.
FOLDER is a checkout of github.com/numenta/NAB; without it anomalies are scored on the seven files of the data folder.
"""

from __future__ import annotations

import argparse
import bz2
import json
import lzma
import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import harness
from forecast_uses_data import CHECKPOINT, azure, frame
from forecast_uses_gaps import interpolation
from forecast_uses_long import sutranets
from forecast_uses_nab import anomaly_detection
from forescale.forecast import C2FAR
from forescale.forecast.uses import compress, decompress


def main() -> None:
    """Write the parts that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help="of compression, anomalies, interpolation, sutranets; all by default")
    parser.add_argument("--nab", type=Path, help="a checkout of github.com/numenta/NAB")
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "compression": compression, "anomalies": lambda: anomaly_detection(options.nab),
        "interpolation": interpolation, "sutranets": sutranets,
    }  # fmt: skip
    found = {name: parts[name]() for name in options.parts or parts}
    path = harness.RESULTS / "forecast_uses.json"
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    results = {name: found.get(name, known.get(name)) for name in parts}
    harness.write("forecast_uses", ["forescale", "numpy", "torch", "zstandard"], **results)


def compression() -> dict[str, Any]:
    """Bits a value of hourly demand: whole numbers, restored exactly."""
    series = azure(every=12)
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
    bits["order 0, adaptive, differences"] = sum(order_zero_bits(each) for each in apart) / len(data)
    return {"values": len(data), "restored": restored, "bits_per_value": bits, "cpu_seconds_to_compress": seconds}


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


def order_zero_bits(values: np.ndarray[Any, Any]) -> float:
    """Ideal adaptive code: a value by how often it was seen; a new one by an escape and 16 bits."""
    seen: Counter[float] = Counter()
    bits = 0.0
    for count, value in enumerate(values.tolist()):
        novel = len(seen) + 1
        total = count + novel
        bits += math.log2(total / seen[value]) if seen[value] else math.log2(total / novel) + 16
        seen[value] += 1
    return bits


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
