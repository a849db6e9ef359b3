"""LayerNorm and RMSNorm over the last dimension: the forward pass, and a backward pass that knows each example's share.

One example and one chunk of its rows are one program; it keeps dγ and dβ in registers and writes them once, in float32.
Per element x and g are read and dx is written, 6 bytes in bfloat16. A chunk of 64 rows adds a partial sum of 4 bytes that
is written and read again, 8/64 byte per element and parameter: 2.1 % of the traffic, 4.2 % with a bias.
No two programs write to one place, and every sum has a fixed order: the same input gives the same bits.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from forescale.errors import ForescaleError, MissingExtraError

CHUNK = 64  # rows of an example whose sums are one partial
WIDEST = 8192  # columns that a tile holds: two float32 sums of so many are a quarter of the registers of an SM
TILE = 4096  # elements of a tile, where the width leaves a choice: 16 a thread
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def norm_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, eps: float, centred: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """LayerNorm (`centred`) or RMSNorm over the last dimension, and the mean and 1/deviation that its backward pass needs.

    All arithmetic is in float32 and y is rounded once, to the dtype of `x`. `mean` and `rstd` are float32 and have the
    shape of `x` without its last dimension; an RMSNorm has no mean.

    Raises:
        ForescaleError: shapes, dtypes or devices do not go together.
        MissingExtraError: Triton is not installed.
    """
    _check(x, weight, *(() if bias is None else (bias,)))
    programs, width, rows = _programs(x), x.shape[-1], math.prod(x.shape[:-1])
    x, weight, bias = x.contiguous(), weight.contiguous(), None if bias is None else bias.contiguous()
    y, rstd = torch.empty_like(x), x.new_empty(x.shape[:-1], dtype=torch.float32)
    mean = torch.empty_like(rstd) if centred else None
    tile_rows, columns, warps = _tile(width)
    arguments: tuple[Any, ...] = (x, weight, bias, y, mean, rstd, eps)
    flags: dict[str, Any] = {"BIAS": bias is not None, "CENTRED": centred, "C": columns, "num_warps": warps}
    with _device(x):
        if width <= WIDEST:
            programs.forward[_blocks(rows, tile_rows),](*arguments, rows, width, **flags, R=tile_rows)
        else:
            programs.wide_forward[rows,](*arguments, width, **flags)
    return y, mean, rstd


def norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor | None, rstd: Tensor, *, bias: bool, centred: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradients of `norm_forward`, and the squared norm of each example's own share of those of the parameters.

    Args:
        grad: of the loss at the output, of the shape of `x`.
        x: (batch, ..., width), float32, bfloat16 or float16; one index of the first dimension is one example.
        weight: (width,), of any of the same dtypes.
        mean: float32, one a row, as `norm_forward` gives it; None for an RMSNorm.
        rstd: likewise, 1 / sqrt(variance + eps).
        bias: whether the norm has one, of the weight's dtype.
        centred: a LayerNorm; else an RMSNorm.

    Returns:
        dx like `x`; dweight and dbias (or None) like `weight`; squared norms (batch,) in float32, of weight and bias together.

    x and grad are read once, up to a width of 8192; beyond it twice. The result has the same bits each time.

    Raises:
        ForescaleError: shapes, dtypes or devices do not go together.
        MissingExtraError: Triton is not installed.
    """
    _check(x, weight, grad)
    _check_backward(grad, x, mean, rstd, centred=centred)
    programs, batch, width, length = _programs(x), x.shape[0], x.shape[-1], math.prod(x.shape[1:-1])
    chunks, kinds = _blocks(length, CHUNK), 1 + bias
    tile_rows, columns, warps = _tile(width)
    inputs = tuple(None if each is None else each.contiguous() for each in (grad, x, weight, mean, rstd))
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    partials = x.new_empty((kinds, batch, chunks, width), dtype=torch.float32)
    flags: dict[str, Any] = {"CENTRED": centred, "C": columns, "num_warps": warps}
    whole, means, rows = width <= WIDEST, None, batch * length
    with _device(x):
        if not whole:
            means = x.new_empty((2, rows), dtype=torch.float32)
            programs.row_means[rows,](*inputs, means, rows, width, **flags)
        programs.backward[batch * chunks, _blocks(width, columns)](
            *inputs, means, dx, partials, length, chunks, rows, width,
            BIAS=bias, WHOLE=whole, CHUNK=CHUNK, R=tile_rows, **flags,
        )  # fmt: skip
        shares, squared_norms = _combine(programs, partials)
    dweight, dbias = shares[0], shares[1] if bias else None
    return dx, dweight.to(weight.dtype), None if dbias is None else dbias.to(weight.dtype), squared_norms


def _combine(programs: Any, partials: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the batch (kinds, width), and squared norms (batch,), of (kinds, batch, chunks, width)."""
    kinds, batch, chunks, width = partials.shape
    columns = 64
    shares = partials.new_empty((kinds, batch, width))
    squares = partials.new_empty((kinds, batch, _blocks(width, columns)))
    programs.combine[kinds * batch, squares.shape[-1]](partials, shares, squares, chunks, width, R=32, C=columns)
    return shares.sum(1), squares.sum((0, 2))


def _tile(width: int) -> tuple[int, int, int]:
    """Rows, columns and warps of a tile: a whole row where one fits, and more where rows are short."""
    columns = 1 << (width - 1).bit_length() if width <= WIDEST else TILE
    rows = min(16, max(1, TILE // columns))
    return rows, columns, max(1, rows * columns // 512)


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


def _device(x: Tensor) -> Any:
    """Triton launches on the current device, which need not be that of `x`."""
    device_of: Any = torch.cuda.device_of
    return device_of(x)


def _programs(x: Tensor) -> Any:
    """The module of Triton's programs, if they can run where `x` lies."""
    try:
        programs = import_module("forescale.noise.kernels._programs")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "these kernels need Triton, a part of PyTorch's CUDA builds: pip install triton"
        ) from error
    if x.device.type == "cpu" and isinstance(programs.backward, programs.triton.JITFunction):
        raise ForescaleError("Triton's kernels run on a GPU, and x lies on the CPU: move it, or use PyTorch's norms.")
    return programs


def _check(x: Tensor, weight: Tensor, *others: Tensor) -> None:
    if x.ndim < 2 or weight.shape != x.shape[-1:]:
        shapes = f"x is {tuple(x.shape)}, the weight {tuple(weight.shape)}"
        raise ForescaleError(f"a norm takes x (batch, ..., width) and a weight (width,): {shapes}.")
    for each in (x, weight, *others):
        if each.dtype not in DTYPES or each.device != x.device:
            raise ForescaleError(
                f"a norm's tensors are float32, bfloat16 or float16 and on one device, here {x.device}:"
                f" one is {each.dtype} on {each.device}."
            )


def _check_backward(grad: Tensor, x: Tensor, mean: Tensor | None, rstd: Tensor, *, centred: bool) -> None:
    if grad.shape != x.shape:
        raise ForescaleError(f"grad has the shape of x: they are {tuple(grad.shape)} and {tuple(x.shape)}.")
    if (mean is not None) != centred:
        raise ForescaleError("a centred norm has a mean and an RMSNorm has none: pass what norm_forward returned.")
    for name, each in (("mean", mean), ("rstd", rstd)):
        if each is not None and (each.numel() * x.shape[-1] != x.numel() or each.dtype != torch.float32):
            raise ForescaleError(
                f"{name} is float32, one a row of x {tuple(x.shape)}: it is {each.dtype}, {tuple(each.shape)}."
            )
