"""The peak that a device reaches in a matrix product, measured: what MFU is a share of."""

from __future__ import annotations

import time
from typing import Any

import torch

USUAL_SHARE = 0.4  # of the peak that training reaches, for an estimate of its time
SECONDS = 0.2  # of measuring, at most about twice


def matmul_peak(device: torch.device, precision: str, size: int | None = None) -> float:
    """FLOP/s of square products of `size` (default 1024 on CPUs, 8192 elsewhere): the best of several."""
    size = size or (1024 if device.type == "cpu" else 8192)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, began, runs = float("inf"), time.perf_counter(), 0
    while runs < 2 or time.perf_counter() - began < SECONDS:
        best, runs = min(best, _time(a, b)), runs + 1
    return 2 * size**3 / best


def _time(a: torch.Tensor, b: torch.Tensor) -> float:
    cuda: Any = torch.cuda if a.device.type == "cuda" else None
    if cuda:
        cuda.synchronize(a.device)
    began = time.perf_counter()
    torch.mm(a, b)
    if cuda:
        cuda.synchronize(a.device)
    return time.perf_counter() - began


def bf16_slowdown(device: torch.device) -> float:
    """How many times longer a product takes in bfloat16 than in float32: above 1 where there are no such instructions."""
    return matmul_peak(device, "fp32", 256) / matmul_peak(device, "bf16", 256)
