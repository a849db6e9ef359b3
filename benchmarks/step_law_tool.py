"""Step Law's authors' own tool on a sweep, run by peer_step_law.py in the tool's folder: times and coefficients as JSON.

Imports what the checkout holds and calls the functions that its own whole fit calls, in the same order with the same seed;
nothing of the checkout is changed. `draws` are its resamples, as counts of points, drawn once more from the same seed.
"""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

RESAMPLES, SEED = 1000, 42
BATCH_INPUTS = ["logD"]  # as the published law has it; the tool's default is N and D


def main(checkout: str, sweep: str, result: str) -> None:
    """Time the job after the imports: read the table, 1,000 bootstraps over points, coefficients."""
    sys.path.insert(0, str(Path(checkout) / "code"))
    import fit_tool
    import numpy as np
    import pandas as pd

    warnings.simplefilter("ignore")
    start, cpu = time.perf_counter(), _cpu()
    random.seed(SEED)
    np.random.seed(SEED)
    points: Any = fit_tool.query_optimal_lr_bs_data(pd.read_csv(sweep))
    models = fit_tool.get_bootstrap_lr_bs_scaling_models(points, RESAMPLES, X_bs_key=BATCH_INPUTS)
    table = fit_tool.get_lr_bs_scaling_model_parameters(models, X_bs_key=BATCH_INPUTS)
    fit_tool.get_mean_lr_bs_scaling_model(table, X_bs_key=BATCH_INPUTS)
    seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    np.random.seed(SEED)
    rows = np.arange(len(points))
    drawn = [np.bincount(pd.Series(rows).sample(frac=1, replace=True), minlength=len(rows)) for _ in range(RESAMPLES)]
    document = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "points": points[["N", "D", "lr", "bs"]].to_numpy().tolist(),
        "draws": [counts.tolist() for counts in drawn],
        "coefficients": table.astype(float).to_numpy().tolist(),
    }
    Path(result).write_text(json.dumps(document), encoding="utf-8")


def _cpu() -> float:
    """Of this process and of those that it waited for."""
    import resource

    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


if __name__ == "__main__":
    main(*sys.argv[1:])
