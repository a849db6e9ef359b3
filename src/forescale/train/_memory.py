"""Freed memory that stays with the process, for it is needed again at the next step."""

from __future__ import annotations

import ctypes

THRESHOLD, TRIM = -3, -1  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
LARGEST = 1 << 30  # bytes that are still taken from the heap


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed memory back to the system; whether it was told.

    By default every large tensor is mapped anew and its pages are cleared at every step. For the whole process, so for
    commands alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(THRESHOLD, LARGEST) and mallopt(TRIM, 2**31 - 1))
