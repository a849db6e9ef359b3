"""Series that the benchmarks of a forecaster's uses read."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

import harness

CHECKPOINT = harness.DATA / "c2far-checkpoint" / "c2far_azure_16-11-94_h130.npz"
Series = Sequence[np.ndarray[Any, Any]]


def azure(every: int = 1) -> list[np.ndarray[Any, Any]]:
    """The 24 vCPU series of five-minute demand, every so many values."""
    with gzip.open(harness.DATA / "azure-vm-demand" / "azure.vcpus.5min.part-ae.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    values = [np.array([float(v) for v in row[-1].split(",")]) for row in rows if len(row) == 12]
    return [each[::every] for each in values if len(each) == 8628]


def frame(series: Series) -> pl.DataFrame:
    """A long frame with counted times."""
    return pl.concat(pl.DataFrame({"unique_id": k, "ds": range(len(each)), "y": each}) for k, each in enumerate(series))
