"""Operations of the two ways to an example's norm, counted by PyTorch, against the closed forms of facts 2 and 9.4."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from forescale.noise._kinds._linear import _at_once, _gram, weight_gradient


def counted(work: Any, *shape: int) -> int:
    batch, length, inputs, outputs = shape
    x, grad = (torch.empty(batch, length, size, device="meta") for size in (inputs, outputs))
    with FlopCounterMode(display=False) as counter:
        work(x, grad)
    return counter.get_total_flops()


def plain(x: Any, grad: Any) -> None:
    _ = grad.flatten(0, 1).T @ x.flatten(0, 1)


def at_once(x: Any, grad: Any) -> None:
    _at_once(x, grad, None)


def test_one_weight_gradient_an_example_takes_the_products_of_the_ordinary_one() -> None:
    assert counted(plain, 8, 256, 256, 768) == counted(at_once, 8, 256, 256, 768) == 805_306_368


@pytest.mark.parametrize(
    ("shape", "extra", "share"),
    [
        ((8, 256, 256, 768), 1_073_741_824, 1.33),
        ((8, 2048, 768, 3072), None, 3.33),
        ((8, 16, 768, 3072), None, 0.026),
    ],
)
def test_gram_matrices_take_two_products_more(shape: tuple[int, ...], extra: int | None, share: float) -> None:
    batch, length, inputs, outputs = shape
    found = counted(_gram, *shape)
    assert found == 2 * batch * length**2 * (inputs + outputs)
    assert extra is None or found == extra
    assert found / counted(plain, *shape) == pytest.approx(share, rel=5e-3)


@pytest.mark.parametrize("length", [8, 512])
def test_the_weight_gradient_takes_the_cheaper_way(length: int) -> None:
    """By operations alone the two cross at sqrt(KL / (K + L)) = 13.86 for 256 x 768."""
    chosen = counted(lambda x, grad: weight_gradient(x, grad, None, 0.0), 8, length, 256, 768)
    ways = {"gram": counted(plain, 8, length, 256, 768) + counted(_gram, 8, length, 256, 768)}
    ways["each"] = counted(at_once, 8, length, 256, 768)
    assert chosen == ways["gram" if length < 13.86 else "each"]
