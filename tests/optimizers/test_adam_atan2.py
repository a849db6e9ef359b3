"""Adam-atan2: the laws of its update (Everett et al. 2024, section 5) and another implementation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forescale.errors import ForescaleError
from forescale.optimizers import AdamAtan2, make_optimizer

VALUES = torch.tensor([0.3, -1.7, 2e-4, -5e3])


def moved(gradients: list[torch.Tensor], **options: Any) -> torch.Tensor:
    """Where a parameter at 0 is after these gradients, with a learning rate of 1."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = AdamAtan2([parameter], lr=1.0, **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_the_first_update_is_one() -> None:
    # After one step m_hat = g and sqrt(v_hat) = |g|, so the update is sign(g) by the choice of a = 4/pi.
    torch.testing.assert_close(moved([VALUES]), -VALUES.sign(), rtol=0, atol=1e-6)


def test_no_gradient_is_no_update() -> None:
    assert torch.equal(moved([torch.zeros(3)] * 3), torch.zeros(3))


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_the_gradients_scale_does_not_matter(scale: float, seed: int) -> None:
    gradients = list(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    scaled = moved([scale * g for g in gradients])
    torch.testing.assert_close(scaled, moved(gradients), rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 100), a=st.floats(0.1, 10), b=st.floats(0.1, 10))
def test_no_update_exceeds_the_bound(seed: int, a: float, b: float) -> None:
    gradients = list(torch.randn(6, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 5)
    places = [moved(gradients[: i + 1], a=a, b=b) for i in range(len(gradients))]
    steps = [after - before for before, after in zip([torch.zeros(8), *places[:-1]], places, strict=True)]
    assert max(float(step.abs().max()) for step in steps) <= a * math.pi / 2 * (1 + 1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_agrees_with_the_package_of_that_name(weight_decay: float) -> None:
    from adam_atan2_pytorch import AdamAtan2 as Theirs

    options: dict[str, Any] = {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": weight_decay}
    places = []
    for make in (Theirs, AdamAtan2):
        generator = torch.Generator().manual_seed(3)
        params = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (5,))]
        optimizer: Any = make(params, a=1.27, b=1.0, **options)
        for _ in range(20):
            for parameter in params:
                parameter.grad = torch.randn(parameter.shape, generator=generator) ** 3
            optimizer.step()
        places.append(params)
    for theirs, ours in zip(*places, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_is_the_same_run() -> None:
    gradients = list(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    expected = moved(gradients)
    first, second = (torch.nn.Parameter(torch.zeros(4)) for _ in range(2))
    optimizer = AdamAtan2([first], lr=1.0)
    for gradient in gradients[:3]:
        first.grad = gradient
        optimizer.step()
    second.data.copy_(first.data)
    resumed = AdamAtan2([second], lr=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    for gradient in gradients[3:]:
        second.grad = gradient
        resumed.step()
    assert torch.equal(second.detach(), expected)


def test_a_closure_is_called_with_gradients() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = AdamAtan2([parameter], lr=0.1)

    def closure() -> float:
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert torch.equal(parameter.detach(), torch.tensor([0.9, 0.9]))


def test_groups_of_the_trainer_are_taken_as_they_are() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    group = {"params": [parameter], "param_names": ["w"], "lr": 0.1, "eps": 1e-8, "betas": (0.9, 0.95), "lr_scale": 1.0}
    optimizer = make_optimizer("adam-atan2", [{**group, "weight_decay": 0.0}])
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.95)
    assert optimizer.param_groups[0]["a"] == 4 / math.pi


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"a": 0.0}, {"b": -1.0}, {"betas": (1.0, 0.9)}])
def test_impossible_hyperparameters_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ForescaleError):
        AdamAtan2([torch.nn.Parameter(torch.ones(1))], **options)
