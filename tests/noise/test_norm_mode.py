"""Norm layers alone, and the total that they predict where some steps are exact."""

from __future__ import annotations

import math

import pytest
import torch
from one_by_one import error, one_by_one
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise import Meter
from forescale.train import build_model
from forescale.workload import Shape

STEPS = 32


def model_of() -> nn.Module:
    return build_model(Shape(width=16, layers=2, heads=2, vocab=16, ffn_width=32), seq_len=16, seed=1)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens[:, :-1], tokens[:, 1:]).objective


def batches() -> Tensor:
    """A language to learn: the next token is the last but one, nine times in ten."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 16, (STEPS, 16, 13), generator=generator)
    for t in range(2, 13):
        kept = torch.rand((STEPS, 16), generator=generator) < 0.9
        tokens[..., t] = torch.where(kept, tokens[..., t - 2], tokens[..., t])
    return tokens


def train(meter: Meter, model: nn.Module, steps: Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for tokens in steps:
        loss_of(model, tokens).backward()
        meter.update(batch_size=16)
        optimizer.step()
        optimizer.zero_grad()


def test_norm_layers_alone_are_a_part_of_all() -> None:
    model, tokens = model_of(), batches()[0]
    norms = [p for p in model.parameters() if p.dim() == 1]
    found = []
    for layers in ("norm", "all"):
        model.zero_grad()
        with Meter(model, layers) as meter:  # type: ignore[arg-type]
            loss_of(model, tokens).backward()
            if layers == "norm":
                assert error(meter.example_norms(), one_by_one(model, tokens, loss_of, norms)) < 1e-5
                loss_of(model, tokens).backward()
            meter.update(batch_size=16)
            found.append(meter.norm_scale)
    for of in ("value", "gradient", "noise", "tokens_per_example"):
        assert getattr(found[0], of) == pytest.approx(getattr(found[1], of), rel=1e-4)
    assert found[0].tokens_per_example == 12


def test_exact_steps_calibrate_the_total() -> None:
    tokens = batches()
    found = {}
    for name, options in {"exact": {}, "norm": {"layers": "norm", "exact_every": 4}}.items():
        model = model_of()
        with Meter(model, **options) as meter:  # type: ignore[arg-type]
            train(meter, model, tokens)
            found[name], ratio = meter.noise_scale, meter.norm_ratio
            norm = meter.norm_scale
        if name == "exact":
            assert ratio.value == pytest.approx(found[name].value / norm.value)
    predicted, exact = found["norm"], found["exact"]
    assert "from the norm layers" in predicted.of
    assert predicted.low < exact.value < predicted.high
    assert predicted.value == pytest.approx(predicted.noise / predicted.gradient)
    assert predicted.value == pytest.approx(exact.value, rel=0.5)
    assert norm.value != pytest.approx(exact.value, rel=0.3)  # what calibration is for
    assert predicted.high / predicted.value > norm.high / norm.value  # the ratio's error is in it


def test_every_step_exact_is_the_total() -> None:
    model, tokens = model_of(), batches()[:12]
    with Meter(model, "norm", exact_every=1) as meter:
        train(meter, model, tokens)
        every = meter.noise_scale
    model = model_of()
    with Meter(model) as meter:
        train(meter, model, tokens)
    for of in ("value", "gradient", "noise"):
        assert getattr(every, of) == pytest.approx(getattr(meter.noise_scale, of), rel=1e-4)


def test_other_steps_follow_norm_layers_alone() -> None:
    model, tokens = model_of(), batches()
    with Meter(model, "norm", exact_every=3) as meter:
        counted = []
        for step in tokens[:6]:
            loss_of(model, step).backward()
            counted.append(sum(any(layer.records) for layer in meter._layers))
            norms = meter.example_norms()
            meter.update(batch_size=16)
            model.zero_grad()
        parts = [p for p in model.parameters() if p.dim() == 1]
        assert error(norms, one_by_one(model, tokens[5], loss_of, parts)) < 1e-5
        assert counted == [len(meter._layers), 5, 5] * 2  # two norms a block and the last one
        assert len(meter.per_layer()) == len(meter._layers)
        assert meter.per_type()["linear"].steps < meter.per_type()["norm"].steps


def test_exact_steps_further_apart_than_the_average_reaches() -> None:
    model, tokens = model_of(), batches()
    with Meter(model, "norm", exact_every=15, beta=0.5) as meter:
        train(meter, model, tokens[:30])
        assert meter.norm_ratio.value > 0
        state = meter.state_dict()
        assert math.isfinite(meter.norm_ratio.value)
    with Meter(model, "norm", exact_every=15, beta=0.5) as later:
        later.load_state_dict(state)
        assert later.norm_ratio == meter.norm_ratio
        assert later._layers[0].active  # the thirty-first step is exact


def test_a_ratio_needs_exact_steps() -> None:
    model = model_of()
    with Meter(model, ["head"]) as meter:
        loss_of(model, batches()[0]).backward()
        meter.update()
        with pytest.raises(ForescaleError, match="needs exact steps and norm layers"):
            _ = meter.norm_ratio
