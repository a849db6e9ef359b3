"""Norm layers with per-example gradient norms on a GPU: our kernels against PyTorch's own and Liger's, without norms.

    python benchmarks/gpu_norm_kernels.py [--tiny]

16,384 rows (8 examples of 2,048) in bfloat16. Times are medians with an empty second-level cache. `share_of_copy` is the
fewest bytes there are (forward: x and y, backward: x, grad and dx, each once) over the time, as a share of what a copy of a
large tensor moves in that time on the same card. First each answer is compared with autograd in float64, and two runs bit
by bit. `--tiny` runs the script itself on any machine, by Triton's interpreter.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import harness
from forescale.noise.kernels import norm_backward, norm_forward

TINY = "--tiny" in sys.argv
WIDTHS = (16, 40) if TINY else (768, 2048, 4096)
BATCH, LENGTH = (2, 70) if TINY else (8, 2048)
EPS = 1e-5
COPIED = 2**30  # bytes
Calls = dict[str, Callable[[], object]]


def main() -> None:
    if not torch.cuda.is_available() and not TINY:
        raise SystemExit("no accelerator here: run it where torch.cuda.is_available(), or with --tiny.")
    if TINY:
        os.environ["TRITON_INTERPRET"] = "1"  # before the first call of a kernel imports Triton
    device = torch.device("cpu" if TINY else "cuda")
    bandwidth = copied_bytes_per_second(device)
    results = {
        f"{'layer' if centred else 'rms'}{width}": measure(device, width, bandwidth, centred=centred)
        for centred in (True, False)
        for width in WIDTHS
    }
    if not TINY:
        facts: dict[str, Any] = {"device": torch.cuda.get_device_name(), "copy_gigabytes_per_second": bandwidth / 1e9}
        harness.write("gpu_norm_kernels", ["forescale", "torch", "triton", "liger-kernel"], **facts, results=results)


def measure(device: torch.device, width: int, bandwidth: float, *, centred: bool) -> dict[str, Any]:
    """Errors, and milliseconds and shares of the copy's bandwidth of each way."""
    torch.manual_seed(0)
    shape, half = (BATCH, LENGTH, width), {"device": device, "dtype": torch.bfloat16}
    grad, x = torch.randn(shape, **half), torch.randn(shape, **half)
    weight, bias = torch.rand(width, **half) + 0.5, torch.randn(width, **half) if centred else None
    found: dict[str, Any] = {"errors": errors(grad, x, weight, bias)}
    bytes_of_one = x.numel() * x.element_size()
    for name, calls, tensors in (
        ("forward", forwards(x, weight, bias), 2),
        ("backward", backwards(grad, x, weight, bias), 3),
    ):
        taken = {way: seconds(call) for way, call in calls.items()}
        found[name] = {
            way: {"milliseconds": 1e3 * time_, "share_of_copy": tensors * bytes_of_one / time_ / bandwidth}
            for way, time_ in taken.items()
        }
    print("layer" if centred else "rms", width, found, flush=True)
    return found


def forwards(x: Tensor, weight: Tensor, bias: Tensor | None) -> Calls:
    calls: Calls = {"ours": lambda: norm_forward(x, weight, bias, eps=EPS, centred=bias is not None)}
    return calls | {way: lambda norm=norm: norm(x, weight, bias) for way, norm in peers(bias).items()}


def backwards(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Calls:
    """Ours gives norms too; the peers do not, but for `torch_and_norms`, which sums each example's share in a pass of its own."""
    kinds = {"bias": bias is not None, "centred": bias is not None}
    _, mean, rstd = norm_forward(x, weight, bias, eps=EPS, centred=bias is not None)
    calls: Calls = {"ours": lambda: norm_backward(grad, x, weight, mean, rstd, **kinds)}
    for way, norm in peers(bias).items():
        leaves = [each.detach().requires_grad_() for each in (x, weight, bias) if each is not None]
        y = norm(*leaves, *([] if bias is not None else [None]))
        calls[way] = lambda y=y, leaves=leaves: torch.autograd.grad(y, leaves, grad, retain_graph=True)
    backward = calls["torch"]
    return calls | {"torch_and_norms": lambda: (backward(), shares(grad, x, mean, rstd))}


def shares(grad: Tensor, x: Tensor, mean: Tensor | None, rstd: Tensor) -> Tensor:
    """Squared norms by PyTorch alone."""
    hat = (x if mean is None else x - mean[..., None]) * rstd[..., None]
    squares = (grad * hat).sum(1).square().sum(-1)
    return squares if mean is None else squares + grad.float().sum(1).square().sum(-1)


def peers(bias: Tensor | None) -> dict[str, Callable[..., Tensor]]:
    """PyTorch's norm and, where it is installed, Liger's."""

    def by_torch(x: Tensor, weight: Tensor, b: Tensor | None) -> Tensor:
        if bias is None:
            return functional.rms_norm(x, weight.shape, weight, EPS)
        return functional.layer_norm(x, weight.shape, weight, b, EPS)

    if TINY or find_spec("liger_kernel") is None:
        return {"torch": by_torch}
    if bias is not None:
        layer: Any = import_module("liger_kernel.ops.layer_norm").LigerLayerNormFunction
        return {"torch": by_torch, "liger": lambda x, weight, b: layer.apply(x, weight, b, EPS)}
    rms: Any = import_module("liger_kernel.ops.rms_norm").LigerRMSNormFunction
    return {"torch": by_torch, "liger": lambda x, weight, _: rms.apply(x, weight, EPS, 0.0, "llama", False)}


def errors(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> dict[str, Any]:
    """The largest differences from autograd in float64, of the largest value; and whether two runs agree bit by bit."""
    _, mean, rstd = norm_forward(x, weight, bias, eps=EPS, centred=bias is not None)
    runs = [
        norm_backward(grad, x, weight.float(), mean, rstd, bias=bias is not None, centred=bias is not None)
        for _ in range(2)
    ]
    leaves = [each.detach().double().requires_grad_() for each in (x, weight, bias) if each is not None]
    squares, totals, dx = [], [0.0, 0.0], []
    for row, g in zip(leaves[0], grad.double(), strict=True):
        y = peers(bias)["torch"](row, leaves[1], leaves[2] if bias is not None else None)
        step, *own = torch.autograd.grad(y, [row, *leaves[1:]], g)
        dx.append(step)
        squares.append(sum(float(each.square().sum()) for each in own))
        totals = [total + each for total, each in zip(totals, own, strict=False)]
    expected = (
        torch.stack(dx),
        *totals,
        *([] if bias is not None else [None]),
        x.new_tensor(squares, dtype=torch.double),
    )
    names = ("dx", "dweight", "dbias", "squared_norms")
    return {
        **{name: off(a, b) for name, a, b in zip(names, runs[0], expected, strict=True) if a is not None},
        "same_bits": all(torch.equal(a, b) for a, b in zip(*runs, strict=True) if a is not None and b is not None),
    }


def off(found: Tensor, expected: Any) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def copied_bytes_per_second(device: torch.device) -> float:
    """Of a copy of a large tensor, read and written."""
    source = torch.zeros(2**16 if TINY else COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def seconds(call: Callable[[], object]) -> float:
    """The median; on a GPU with the second-level cache emptied before each run."""
    if not TINY:
        testing: Any = import_module("triton.testing")
        return float(testing.do_bench(call, warmup=100, rep=500, return_mode="median")) / 1e3
    samples: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        samples.append(time.perf_counter() - began)
    return statistics.median(samples)


if __name__ == "__main__":
    main()
