"""What C2FAR's law is good for beside forecasts, and what SutraNets do to long ones; each against simple ways, in one run.

`python bench_forecast_uses.py --nab FOLDER` runs every part; names of parts run those alone, and keep the others' results.
FOLDER is a checkout of github.com/numenta/NAB; without it anomalies are scored on the seven files of the data folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import harness
from forecast_uses_compression import compression
from forecast_uses_gaps import interpolation
from forecast_uses_long import sutranets
from forecast_uses_nab import anomaly_detection


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
