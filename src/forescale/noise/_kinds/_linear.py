"""A linear layer whose backward pass also finds each example's squared gradient norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forescale.noise._kinds._records import record, squared

# FLOPs of a matrix product in the time in which an element is written and read: about 0.46 ns at 58 GFLOP/s on a CPU core,
# measured; 10 bytes at 3 TB/s against 400 TFLOP/s on an H100, from its data sheet.
ELEMENT = {"cpu": 27.0, "cuda": 1300.0}
BUFFER = 2**26  # elements of examples' weight gradients that are held at once where kernels are launched


def gram_is_cheaper(length: int, inputs: int, outputs: int, element: float) -> bool:
    """Whether two (length, length) Gram matrices cost less than one weight gradient an example.

    A count of operations (`element` 0: a length below sqrt(KL / (K + L))) and of memory (`element` infinite: 2 T² < KL), with
    `element` operations an element (Gray et al. 2024, 2411.00999, Table 1's two methods; the counts are ours).
    """
    gram = length**2 * (2 * (inputs + outputs) + 2 * element)
    return gram < inputs * outputs * (2 + element)


class TrackedLinear(torch.autograd.Function):
    """`x` (examples, ..., inputs) @ weight.T + bias; the gradient of `slot` is the examples' record.

    `mask` is of the weight. `counts` is a second slot: of how many positions of each example have a gradient. `link` is what a
    tied embedding made: its gradient is, for each of the example's tokens `ids`, that token's row of the example's weight
    gradient here.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        slot: Tensor,
        counts: Tensor | None,
        mask: Tensor | None,
        link: Tensor | None,
        ids: Tensor | None,
        element: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, slot, counts, mask, ids)
        ctx.has_bias, ctx.linked, ctx.element = bias is not None, link is not None, element
        return functional.linear(x, weight if mask is None else weight * mask, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, slot, counts, mask, ids = ctx.saved_tensors
        once(ctx)
        grad = grads[0]
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        dx = grad @ (weight if mask is None else weight * mask) if need_x else None
        x3, g3 = by_example(x), by_example(grad)
        norms, dweight, dbias = torch.zeros((), device=x.device), None, None
        if need_weight:
            dweight, norms = weight_gradient(x3, g3, mask, ctx.element)
        if need_bias:
            rows = g3.sum(1)
            norms, dbias = norms + squared(rows), rows.sum(0)
        counted = None if counts is None else record(g3.any(-1).sum(1).to(counts.dtype), counts)
        back = rows_of(ids, g3, x3) if ctx.linked else None
        norms = norms.expand(x3.shape[0])
        return dx, dweight, dbias, record(norms, slot), counted, None, back, None, None


def once(ctx: Any) -> None:
    """Refuse a second backward pass through one forward pass, whose norms would be counted twice."""
    if torch.compiler.is_compiling():
        return
    if getattr(ctx, "used", False):
        from forescale.errors import ForescaleError

        raise ForescaleError(
            "a noise meter counts each forward pass once; this is a second backward pass through the same one: add the "
            "losses up before one backward(), or close() the meter first."
        )
    ctx.used = True


def by_example(x: Tensor) -> Tensor:
    """(examples, ..., size) to (examples, positions, size)."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def rows_of(ids: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """The rows `ids` (examples, length) of each example's weight gradient, (examples, length, inputs)."""
    length = grad.shape[1]
    picked = grad.gather(2, ids.unsqueeze(1).expand(-1, length, -1))  # (examples, position, token)
    return torch.bmm(picked.transpose(1, 2), x)


def weight_gradient(x: Tensor, grad: Tensor, mask: Tensor | None, element: float) -> tuple[Tensor, Tensor]:
    """The weight's gradient (outputs, inputs) and each example's squared norm of its own, by the cheaper of two ways."""
    (examples, length, inputs), outputs = x.shape, grad.shape[2]
    if length == 1 and mask is None:
        return grad[:, 0].T @ x[:, 0], squared(x) * squared(grad)
    if mask is None and gram_is_cheaper(length, inputs, outputs, element):
        return grad.reshape(-1, outputs).T @ x.reshape(-1, inputs), _gram(x, grad)
    if torch.compiler.is_compiling():
        return _at_once(x, grad, mask)
    step = 1 if x.device.type == "cpu" else max(1, BUFFER // (inputs * outputs))
    if step >= examples:
        return _at_once(x, grad, mask)
    return _in_turn(x, grad, mask) if step == 1 else _in_parts(x, grad, mask, step)


def _gram(x: Tensor, grad: Tensor) -> Tensor:
    """<X Xᵀ, G Gᵀ> of each example (Li et al. 2022, 2110.05679)."""
    if x.dtype == torch.float16:  # whose range squares would leave
        x, grad = x.bfloat16(), grad.bfloat16()
    products = torch.bmm(x, x.transpose(1, 2)).float() if x.dtype == torch.bfloat16 else torch.bmm(x, x.transpose(1, 2))
    return (products * torch.bmm(grad, grad.transpose(1, 2))).sum((1, 2))


def _at_once(x: Tensor, grad: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    each = torch.bmm(grad.transpose(1, 2), x)
    if mask is not None:
        each = each * mask
    return each.sum(0), squared(each)


def _in_parts(x: Tensor, grad: Tensor, mask: Tensor | None, step: int) -> tuple[Tensor, Tensor]:
    total, norms = _at_once(x[:step], grad[:step], mask)
    found = [norms]
    for start in range(step, x.shape[0], step):
        more, norms = _at_once(x[start : start + step], grad[start : start + step], mask)
        total += more
        found.append(norms)
    return total, torch.cat(found)


def _in_turn(x: Tensor, grad: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """One example after another in one buffer, which stays in the cache."""
    total = grad[0].T @ x[0]
    buffer, norms = torch.empty_like(total), torch.empty(x.shape[0], dtype=wide(x.dtype))
    for i in range(x.shape[0]):
        one = torch.mm(grad[i].T, x[i], out=buffer) if i else total
        if mask is not None:
            one *= mask
        flat = one.view(-1)
        norms[i] = torch.dot(flat, flat) if flat.dtype == norms.dtype else flat.to(norms.dtype).square().sum()
        if i:
            total += one
    return total, norms


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that squares are added up in."""
    return torch.promote_types(dtype, torch.float32)
