"""Real series as the tests of the uses read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def azure_every_hour(data: Path) -> list[np.ndarray]:
    """Every twelfth value of the 24 vCPU series of 5-minute demand: whole numbers."""
    with gzip.open(data / "azure-vm-demand" / "azure.vcpus.5min.part-ae.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    values = [np.array([float(v) for v in row[-1].split(",")]) for row in rows if len(row) == 12]
    return [each[::12] for each in values if len(each) == 8628]
