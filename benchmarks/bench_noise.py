"""What the noise meter costs, beside Opacus' ghost norms and torch.func's vmap(grad): a training step on the CPU.

A step is zero_grad, forward, backward, the norms of all examples and AdamW. Ratios are of CPU time to the plain step's in
the same round; the methods run in turn. Peak memory is that of a process each. Writes results/noise.json.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness import call_cpu_seconds, interleaved, median_ratio, write
from noise_gpt import NoiseGPT, mean_loss

SHAPES = {"T 256, B 8": (256, 8), "T 64, B 32": (64, 32)}
MODEL: dict[str, int] = {"vocab": 256, "layers": 4, "width": 256, "heads": 4}
TARGETS = {"T 256, B 8": {"norm": 1.02, "all": 1.12}, "T 64, B 32": {"norm": 1.02, "all": 1.25}}
ROUNDS, THREADS = 21, 1
PACKAGES = ("torch", "opacus", "forescale")


def main() -> None:
    """Time every method at both shapes, then measure memory."""
    torch.set_num_threads(THREADS)
    results = {name: timed(*shape) | {"targets": TARGETS[name]} for name, shape in SHAPES.items()}
    memory = {name: peak_megabytes(name) for name in ("plain", *METHODS)}
    ratios = {name: round(each / memory["plain"], 3) for name, each in memory.items()}
    write(
        "noise", PACKAGES, model=MODEL, threads=THREADS, rounds=ROUNDS, cpu_ratio_to_plain=results,
        peak_megabytes={"T 256, B 8": memory, "ratio": ratios},
    )  # fmt: skip


def timed(length: int, batch: int) -> dict[str, Any]:
    """CPU time of each method's step over the plain one's: the median of rounds, and its quartiles."""
    steps = {name: make(length, batch) for name, make in {"plain": plain, **METHODS}.items()}
    check(length, batch)
    samples = interleaved(ROUNDS, {name: lambda step=step: call_cpu_seconds(step) for name, step in steps.items()})
    found: dict[str, Any] = {"plain_ms": round(1e3 * statistics.median(samples["plain"]), 1)}
    for name in METHODS:
        each = [a / b for a, b in zip(samples[name], samples["plain"], strict=True)]
        quartiles = [round(q, 3) for q in statistics.quantiles(each, n=4)[::2]]
        found[name] = {"ratio": round(median_ratio(samples[name], samples["plain"]), 3), "quartiles": quartiles}
        print(length, batch, name, found[name], flush=True)
    return found


def made(length: int, batch: int) -> tuple[Any, Any, Any]:
    """A model, its optimizer and a batch."""
    torch.manual_seed(0)
    model = NoiseGPT(length=length, **MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    return model, optimizer, torch.randint(256, (batch, length + 1))


def plain(length: int, batch: int) -> Callable[[], Any]:
    """A step without norms."""
    model, optimizer, rows = made(length, batch)

    def step() -> None:
        optimizer.zero_grad()
        mean_loss(model, rows).backward()
        optimizer.step()

    return step


def meter(layers: Any) -> Callable[[int, int], Callable[[], Any]]:
    """Ours: a step that also updates the meter."""

    def make(length: int, batch: int) -> Callable[[], Any]:
        from forescale.noise import Meter

        model, optimizer, rows = made(length, batch)
        followed = Meter(model, layers=layers)

        def step() -> Any:
            optimizer.zero_grad()
            mean_loss(model, rows).backward()
            norms = followed.example_norms()
            followed.update(batch_size=batch)
            optimizer.step()
            return norms

        return step

    return make


def opacus_ghost(length: int, batch: int) -> Callable[[], Any]:
    """Opacus' ghost norms."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    model, optimizer, rows = made(length, batch)
    wrapped: Any = GradSampleModuleFastGradientClipping(
        model, batch_first=True, loss_reduction="mean", use_ghost_clipping=True
    )

    def step() -> Any:
        optimizer.zero_grad()
        mean_loss(wrapped, rows).backward()
        norms = wrapped.get_norm_sample() ** 2
        optimizer.step()
        return norms

    return step


def vmapped(length: int, batch: int) -> Callable[[], Any]:
    """torch.func: every example's gradient, materialised."""
    from torch.func import functional_call, grad, vmap

    model, optimizer, rows = made(length, batch)
    parameters = dict(model.named_parameters())

    def one(values: Any, row: Any) -> Any:
        return mean_loss(lambda x: functional_call(model, values, (x,)), row.unsqueeze(0))

    each: Any = vmap(grad(one), in_dims=(None, 0))

    def step() -> Any:
        optimizer.zero_grad()
        grads = each({name: p.detach() for name, p in parameters.items()}, rows)
        norms = sum(g.flatten(1).square().sum(1) for g in grads.values())
        for name, parameter in parameters.items():
            parameter.grad = grads[name].mean(0).contiguous()
        optimizer.step()
        return norms

    return step


METHODS: dict[str, Callable[[int, int], Callable[[], Any]]] = {
    "norm": meter("norm"),
    "all": meter("all"),
    "opacus ghost": opacus_ghost,
    "vmap": vmapped,
}


def check(length: int, batch: int) -> None:
    """The methods that are exact agree."""
    ours, ghost, mapped = (METHODS[name](length, batch)() for name in ("all", "opacus ghost", "vmap"))
    torch.testing.assert_close(ours.float(), mapped, rtol=1e-4, atol=0)
    torch.testing.assert_close(ours.float(), ghost, rtol=1e-4, atol=0)


def peak_megabytes(name: str) -> float:
    """Peak resident memory of a process that takes three steps."""
    found = subprocess.run([sys.executable, __file__, "--memory", name], check=True, capture_output=True, text=True)
    return float(found.stdout)


def memory_of(name: str) -> float:
    """As `peak_megabytes`, in this process."""
    torch.set_num_threads(THREADS)
    step = {"plain": plain, **METHODS}[name](256, 8)
    for _ in range(3):
        step()
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's peak
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]  # Linux has the line


if __name__ == "__main__":
    if "--memory" in sys.argv:
        print(memory_of(sys.argv[-1]))
    else:
        main()
