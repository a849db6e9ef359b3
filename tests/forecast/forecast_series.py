"""Real series as the tests read them, and made ones."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

CONTEXT, HORIZON, WINDOWS = 168, 24, 7  # of the protocol


def m4_hourly(data: Path) -> list[np.ndarray]:
    """Training and test values of the 414 series, joined."""
    parts = []
    for name in ("Hourly-train.csv.gz", "Hourly-test.csv.gz"):
        with gzip.open(data / "m4-hourly" / name, "rt", newline="") as file:
            parts.append({row[0]: [float(v) for v in row[1:] if v] for row in list(csv.reader(file))[1:]})
    return [np.array(values + parts[1][name]) for name, values in parts[0].items()]


def azure_hourly(data: Path) -> list[np.ndarray]:
    """Hourly means of the 24 vCPU series of 5-minute demand."""
    with gzip.open(data / "azure-vm-demand" / "azure.vcpus.5min.part-ae.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    values = [np.array([float(v) for v in row[-1].split(",")]) for row in rows if len(row) == 12]
    return [each.reshape(-1, 12).mean(1) for each in values if len(each) == 8628]


def protocol_windows(series: list[np.ndarray]) -> np.ndarray:
    """The last seven horizons of each series, each with its context and one value before it."""
    return np.array(
        [
            values[len(values) - HORIZON * (WINDOWS - w) - CONTEXT - 1 : len(values) - HORIZON * (WINDOWS - w - 1)]
            for values in series
            for w in range(WINDOWS)
        ]
    )
