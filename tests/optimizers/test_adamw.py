"""The lean AdamW is torch.optim.AdamW(fused=True) to the last bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from forescale.errors import ForescaleError
from forescale.optimizers import _adamw as adamw_module
from forescale.optimizers import make_optimizer
from forescale.optimizers._adamw import LeanAdamW

SHAPES = ((3,), (4, 6), (2, 5, 3), ())


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def groups(params: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": params[:2], "lr": 0.1, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1},
        {"params": params[2:], "lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.0},
    ]


def set_gradients(params: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in params:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def run(optimizer: Any, params: list[torch.nn.Parameter], steps: range) -> list[torch.Tensor]:
    for step in steps:
        set_gradients(params, 100 + step)
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach().clone() for parameter in params]


def test_equals_torch_to_the_last_bit() -> None:
    ours, theirs = parameters(), parameters()
    lean, torchs = LeanAdamW(groups(ours)), torch.optim.AdamW(groups(theirs), fused=True)
    for mine, other in zip(run(lean, ours, range(7)), run(torchs, theirs, range(7)), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("direction", ["ours to torch", "torch to ours", "ours to ours"])
def test_a_saved_state_loads_into_either(direction: str) -> None:
    first, second, undisturbed = parameters(), parameters(), parameters()
    make = {"ours": LeanAdamW, "torch": lambda g: torch.optim.AdamW(g, fused=True)}
    source, _, target = direction.partition(" to ")
    expected = run(torch.optim.AdamW(groups(undisturbed), fused=True), undisturbed, range(8))
    saved = make[source](groups(first))
    middle = run(saved, first, range(4))
    with torch.no_grad():
        for parameter, value in zip(second, middle, strict=True):
            parameter.copy_(value)
    resumed = make[target](groups(second))
    resumed.load_state_dict(saved.state_dict())
    for mine, other in zip(run(resumed, second, range(4, 8)), expected, strict=True):
        assert torch.equal(mine, other)


def test_a_gradient_with_other_strides_changes_nothing() -> None:
    # The fused kernel reads it in the parameter's layout: without the guard the difference is above 0.1.
    ours, theirs = parameters(), parameters()
    lean, torchs = LeanAdamW(groups(ours)), torch.optim.AdamW(groups(theirs), fused=True)
    for step in range(3):
        for params in (ours, theirs):
            set_gradients(params, step)
        ours[1].grad = ours[1].grad.t().contiguous().t()  # type: ignore[union-attr]
        assert ours[1].grad.stride() != ours[1].stride()
        lean.step()
        torchs.step()
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_a_parameter_without_a_gradient_stays_and_counts_no_step() -> None:
    ours, theirs = parameters(), parameters()
    lean, torchs = LeanAdamW(groups(ours)), torch.optim.AdamW(groups(theirs), fused=True)
    for step in range(4):
        for params, optimizer in ((ours, lean), (theirs, torchs)):
            set_gradients(params, step)
            if step % 2:
                params[0].grad = None
            optimizer.step()
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
    assert lean.state[ours[0]]["step"] == 2
    assert lean.state[ours[1]]["step"] == 4


def test_the_foreach_update_agrees_where_the_kernel_is_missing(monkeypatch) -> None:
    ours, theirs = parameters(), parameters()
    monkeypatch.setattr(adamw_module, "FUSED", frozenset())
    torchs = torch.optim.AdamW(groups(theirs), fused=True)
    for mine, other in zip(run(LeanAdamW(groups(ours)), ours, range(7)), run(torchs, theirs, range(7)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_loads_no_compiler() -> None:
    # torch.optim's constructor imports torch._dynamo, two seconds in a fresh process.
    code = (
        "import sys, torch\n"
        "from forescale.optimizers import make_optimizer\n"
        "p = torch.nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)\n"
        "make_optimizer('adamw', [{'params': [p]}]).step()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_other_groups_are_refused() -> None:
    saved = LeanAdamW(groups(parameters())).state_dict()
    with pytest.raises(ForescaleError, match="parameter groups"):
        LeanAdamW([{"params": parameters()}]).load_state_dict(saved)


def test_a_parameter_in_two_groups_is_refused() -> None:
    params = parameters()
    with pytest.raises(ForescaleError, match="two groups"):
        LeanAdamW([{"params": params}, {"params": params[:1]}])


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", -1.0), ("lr", float("nan")), ("eps", -1e-8), ("weight_decay", -0.1), ("betas", (0.9, 1.0))],
)
def test_impossible_hyperparameters_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ForescaleError, match=name):
        LeanAdamW([{"params": parameters(), name: value}])


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(ForescaleError, match="adamw, adam-atan2, muon"):
        make_optimizer("sgd", [])
