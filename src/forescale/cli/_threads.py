"""One thread a library: the matrices are small, and idle threads of linear algebra burn many times the work's own time."""

from __future__ import annotations

import os

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS")


def use_one_thread() -> None:
    """Before numpy is loaded; what the user has set stays."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
