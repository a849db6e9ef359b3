"""What C2FAR's law is good for beside forecasts, and what SutraNets do to long ones; each against simple ways, in one run.

`python bench_forecast_uses.py` runs every part; names of parts run those alone, and keep the others' results.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import torch

import harness
from forescale.forecast import C2FAR, SutraNet, Training
from forescale.forecast.uses import compress, decompress

CHECKPOINT = harness.DATA / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz"
DAY = 288  # five-minute steps
STEPS = 250  # of training: small, for two cores
Series = Sequence[np.ndarray[Any, Any]]


def main() -> None:
    """Write the parts that were asked for."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {"compression": compression, "sutranets": sutranets}
    wanted = sys.argv[1:] or list(parts)
    path = harness.RESULTS / "forecast_uses.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results = {name: parts[name]() if name in wanted else known.get(name) for name in parts}
    harness.write("forecast_uses", ["forescale", "numpy", "torch", "zstandard"], **results)


def azure(every: int = 1) -> list[np.ndarray[Any, Any]]:
    """The 24 vCPU series of five-minute demand, every so many values."""
    with gzip.open(harness.DATA / "azure-vm-demand" / "azure.vcpus.5min.part-ae.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    values = [np.array([float(v) for v in row[-1].split(",")]) for row in rows if len(row) == 12]
    return [each[::every] for each in values if len(each) == 8628]


def frame(series: Series) -> pl.DataFrame:
    """A long frame with counted times."""
    return pl.concat(pl.DataFrame({"unique_id": k, "ds": range(len(each)), "y": each}) for k, each in enumerate(series))


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


def sutranets() -> dict[str, Any]:
    """Error by how far ahead, of the last four days of five-minute demand: small models, equal steps of training."""
    data = frame(azure())
    options: dict[str, Any] = {
        "horizon": DAY, "context": 2 * DAY, "bins": (12, 12, 12), "low": -0.08, "high": 1.2, "network": "shared",
        "hidden": 32, "lags": (), "calendar": False,
    }  # fmt: skip
    training = Training(steps=STEPS, batch=16, learning_rate=5e-3, checks=5)
    models = {
        "plain": C2FAR(training=training, span=2 * DAY, **options),
        "sutranet, backfill, alternating": SutraNet(subseries=6, training=training, **options),
        "sutranet, regular, alternating": SutraNet(subseries=6, order="regular", training=training, **options),
    }
    found = {name: ahead(model, data, name) for name, model in models.items()}
    return {"steps": STEPS, "windows": 4, "paths": 50, "hours": [4 * k + 4 for k in range(6)], "models": found}


def ahead(model: C2FAR, data: pl.DataFrame, name: str) -> dict[str, Any]:
    """ND of the median in six parts of the day ahead, and what training came to."""
    column = "C2FAR" if type(model) is C2FAR else "SutraNet"
    found: list[pl.DataFrame] = []
    seconds = harness.call_cpu_seconds(lambda: found.append(model.cross_validation(data, windows=4, paths=50)))
    rows: Any = found[0]
    truth, median = (rows[name].to_numpy().reshape(-1, 6, DAY // 6) for name in ("y", column))
    error, level = np.abs(truth - median), np.abs(truth)
    print(name, error.sum() / level.sum(), file=sys.stderr, flush=True)
    return {
        "parameters": model.parameters,
        "cpu_seconds": seconds,
        "nd": float(error.sum() / level.sum()),
        "nd_by_four_hours": (error.sum((0, 2)) / level.sum((0, 2))).round(5).tolist(),
        "validation_nats": None if model.fitted is None else model.fitted.loss,
        "best_step": None if model.fitted is None else model.fitted.best_step,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
