"""RMSNorm on the CPU against PyTorch's own and against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from forescale.train import _norms
from forescale.train._norms import RMSNorm, make_norm, rms_norm


def pair(*sizes: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sizes, generator=generator, dtype=dtype, requires_grad=True)
    return x, torch.randn(sizes[-1], generator=generator, dtype=dtype, requires_grad=True)


def with_gradients(function: Any, x: Tensor, weight: Tensor) -> list[Tensor]:
    y = function(x, weight)
    grad = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return [y, *torch.autograd.grad(y, (x, weight), grad)]


@pytest.mark.parametrize("sizes", [(3, 4, 5), (7, 1), (6,), (2, 3, 2, 8)], ids=str)
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_gradients_are_those_of_finite_differences(sizes: tuple[int, ...], eps: float) -> None:
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, eps), pair(*sizes))


@given(rows=st.integers(0, 9), size=st.integers(1, 70), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_it_is_pytorchs(rows: int, size: int, scale: float, seed: int) -> None:
    x, weight = pair(rows, size, seed=seed)
    x = (x * scale).detach().requires_grad_()
    got = with_gradients(lambda x, w: rms_norm(x, w, 1e-5), x, weight)
    expected = with_gradients(lambda x, w: functional.rms_norm(x, w.shape, w, 1e-5), x, weight)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 / scale + 1e-12)


def test_a_planted_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _norms.aten.native_layer_norm_backward

    class Faulty:
        @staticmethod
        def native_layer_norm_backward(*arguments: Any) -> Any:
            dx, *others = real(*arguments)
            return (dx * (1 + 1e-3), *others)

    monkeypatch.setattr(_norms, "aten", Faulty)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-5), pair(3, 4, 5))


def test_strided_inputs_and_gradients() -> None:
    x, weight = pair(4, 6, 8)
    for view in (lambda t: t.transpose(0, 1), lambda t: t[:, ::2], lambda t: t.expand(3, 4, 6, 8)):
        ours = with_gradients(lambda x, w, view=view: rms_norm(view(x), w, 1e-5).transpose(0, 1), x, weight)
        theirs = with_gradients(
            lambda x, w, view=view: functional.rms_norm(view(x), w.shape, w, 1e-5).transpose(0, 1), x, weight
        )
        torch.testing.assert_close(ours, theirs)


def test_half_precision_is_computed_in_the_weights() -> None:
    x, weight = pair(5, 16, dtype=torch.float32)
    y = rms_norm(x.bfloat16(), weight, 1e-5)
    assert y.dtype == torch.bfloat16
    expected = functional.rms_norm(x.bfloat16().float(), weight.shape, weight, 1e-5).bfloat16()
    assert torch.equal(y, expected)


def test_it_compiles_and_recomputes() -> None:
    norm = RMSNorm(16, 1e-5)
    x, _ = pair(5, 16, dtype=torch.float32)
    expected = with_gradients(lambda x, _: norm(x), x, norm.weight)
    compiled: Any = torch.compile(norm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(with_gradients(lambda x, _: compiled(x), x, norm.weight), expected)
    recomputed: Any = torch.utils.checkpoint.checkpoint
    got = with_gradients(lambda x, _: recomputed(norm, x, use_reentrant=False), x, norm.weight)
    assert all(map(torch.equal, got, expected))


def test_layer_norm_is_pytorchs() -> None:
    assert isinstance(make_norm("layer", 8, 1e-5), nn.LayerNorm)
