"""Tokens a second and MFU of the trainer on an accelerator, at 124M and 350M parameters in bf16 with torch.compile.

    python benchmarks/gpu_training.py [--tiny]

MFU is against the best bf16 matrix product measured on the same device in the same run; the attention's share of the
step is told by torch's own SDPA, forward and backward, at the same shape. `--tiny` runs the script itself on any machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch

import harness
from forescale.train import ModelOptions, TrainConfig, open_corpus, train
from forescale.train._peak import matmul_peak
from forescale.workload import Shape

SHAPES = {
    "124M": (Shape(layers=12, width=768, heads=12, vocab=50304, tied=True), 1024, 32),
    "350M": (Shape(layers=24, width=1024, heads=16, vocab=50304, tied=True), 1024, 16),
}
TINY = {"tiny": (Shape(layers=2, width=64, heads=4, vocab=256, tied=True), 64, 4)}
STEPS, SKIPPED = 60, 20


def main() -> None:
    tiny = "--tiny" in sys.argv
    if not torch.cuda.is_available() and not tiny:
        raise SystemExit("no accelerator here: run it where torch.cuda.is_available(), or with --tiny.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    precision = "bf16" if device.type == "cuda" else "fp32"
    peak = matmul_peak(device, precision)
    results = {size: measure(*parts, device, precision, peak) for size, parts in (TINY if tiny else SHAPES).items()}
    for size, row in results.items():
        print(size, row, flush=True)
    if not tiny:
        harness.write("gpu_training", ["forescale", "torch"], device=name, matmul_flops=peak, results=results)


def measure(
    shape: Shape, seq_len: int, batch: int, device: torch.device, precision: Any, peak: float
) -> dict[str, float]:
    """The median step after the compiler is done."""
    config = TrainConfig(
        shape=shape, options=ModelOptions(), seq_len=seq_len, batch_sequences=batch, steps=STEPS, learning_rate=3e-4,
        device=device.type, precision=precision, compile=device.type == "cuda", micro_batch=batch,
    )  # fmt: skip
    times: list[float] = []

    def tick(_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    train(config, corpus=open_corpus(None, seq_len=seq_len), on_step=tick)
    seconds = statistics.median(b - a for a, b in zip(times[SKIPPED:], times[SKIPPED + 1 :], strict=False))
    tokens = batch * seq_len / seconds
    attention = sdpa_seconds(shape, seq_len, batch, device, precision)
    return {
        "tokens_per_second": tokens,
        "mfu": tokens * config.flops_per_token / peak,
        "step_seconds": seconds,
        "sdpa_share_of_step": shape.layers * attention / seconds,
    }


def sdpa_seconds(shape: Shape, seq_len: int, batch: int, device: torch.device, precision: str) -> float:
    """One layer's attention, forward and backward."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    size = (batch, shape.heads, seq_len, shape.width // shape.heads)
    q, k, v = (torch.randn(size, device=device, dtype=kind, requires_grad=True) for _ in range(3))
    times: list[float] = []
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[10:])


if __name__ == "__main__":
    main()
