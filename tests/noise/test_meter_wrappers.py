"""Under everything that wraps a training step: the norms stay, and the model is left as it was."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from one_by_one import Bigram, Sequence, error, language, measured, one_by_one
from torch import Tensor, nn

from forescale.errors import ForescaleError
from forescale.noise import Meter

TOLERANCE = 1e-5


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Bigram("flat", tied=True)


@pytest.fixture
def tokens() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 11, (8, 9))


# Accumulation


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_accumulation_changes_nothing(model: nn.Module, tokens: Tensor, pieces: int, scale: float) -> None:
    class Scaler:  # what a meter asks of torch.amp.GradScaler
        def get_scale(self) -> float:
            return scale

    expected = one_by_one(model, tokens, language)
    with Meter(model) as whole:
        language(model, tokens).backward()
        whole.update(batch_size=8)
    model.zero_grad()
    with Meter(model, scaler=Scaler()) as meter:
        for piece in tokens.chunk(pieces):
            (language(model, piece) / pieces * scale).backward()
        assert error(meter.example_norms(), expected) < TOLERANCE
        meter.update(batch_size=8)
    for of in ("value", "gradient", "noise"):
        assert getattr(meter.noise_scale, of) == pytest.approx(getattr(whole.noise_scale, of), rel=1e-4)


def test_uneven_pieces_of_one_sum(model: nn.Module, tokens: Tensor) -> None:
    with Meter(model) as meter:
        for piece in tokens.split([3, 5]):
            (language(model, piece) * len(piece) / 8).backward()
        assert error(meter.example_norms(), one_by_one(model, tokens, language)) < TOLERANCE


@pytest.mark.parametrize("way", [lambda m: m.zero_grad(), lambda m: [setattr(p, "grad", None) for p in m.parameters()]])
def test_norms_without_update_are_of_the_last_step(
    model: nn.Module, tokens: Tensor, way: Callable[[nn.Module], Any]
) -> None:
    expected = one_by_one(model, tokens[:5], language)
    with Meter(model) as meter:
        for piece in (tokens, tokens[:2], tokens[:5]):
            way(model)
            language(model, piece).backward()
        assert error(meter.example_norms(), expected) < TOLERANCE
        loss = language(model, tokens[:5])
        way(model)  # between the forward and the backward pass
        loss.backward()
        assert error(meter.example_norms(), expected) < TOLERANCE


def test_a_layer_alone_starts_anew() -> None:
    model, x = nn.Linear(4, 3), torch.randn(5, 4)
    with Meter(model) as meter:
        for _ in range(3):
            model.zero_grad()
            model(x).square().mean().backward()
            assert len(meter.example_norms()) == 5


def test_clipping_and_stepping_come_before_or_after(model: nn.Module, tokens: Tensor) -> None:
    found = []
    for first in (True, False):
        made = copy.deepcopy(model)
        optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
        with Meter(made) as meter:
            for _ in range(2):
                optimizer.zero_grad()
                language(made, tokens).backward()
                if first:
                    meter.update()
                nn.utils.clip_grad_norm_(made.parameters(), 1e-3)
                optimizer.step()
                if not first:
                    optimizer.zero_grad()
                    meter.update()
            found.append(meter.noise_scale)
    assert found[0] == found[1]


# Precision


def test_autocast() -> None:
    # bfloat16 keeps 8 bits: each entry of a gradient is off by up to 2^-8, at random, so a sum of squares of many by less.
    torch.manual_seed(0)
    model = Sequence(
        nn.Embedding(11, 32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 11)
    )
    tokens = torch.randint(0, 11, (6, 17))

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return language(model, tokens)

    found, expected = measured(model, tokens, loss), one_by_one(model, tokens, loss)
    assert error(found, expected) < 2**-7
    assert error(found, one_by_one(model, tokens, language)) < 2**-5
    plain = copy.deepcopy(model)
    with Meter(model):
        loss(model, tokens).backward()
    loss(plain, tokens).backward()
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2**-6, atol=2**-6 * float(theirs.grad.abs().max()))  # type: ignore[union-attr]


def test_double_precision(tokens: Tensor) -> None:
    model = Bigram("flat", tied=True).double()
    assert error(measured(model, tokens, language), one_by_one(model, tokens, language)) < 1e-12


@pytest.mark.parametrize("layers", ["all", "norm"])
def test_gradients_are_those_without_a_meter(model: nn.Module, tokens: Tensor, layers: Any) -> None:
    plain = copy.deepcopy(model)
    language(plain, tokens).backward()
    with Meter(model, layers):
        language(model, tokens).backward()
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-7)


# Recomputed activations and compilers


class Checkpointed(Bigram):
    reentrant = False

    def __init__(self) -> None:
        super().__init__("flat", tied=True)
        self.norm = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 6))  # type: ignore[assignment]

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.positions(torch.arange(tokens.shape[1]))  # type: ignore[misc]
        for _ in range(1):
            x = torch.utils.checkpoint.checkpoint(self.norm, x, use_reentrant=self.reentrant)  # type: ignore[assignment]
        return self.head(x.sin())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(tokens: Tensor, reentrant: bool) -> None:
    model = Checkpointed()
    model.reentrant = reentrant
    expected = one_by_one(model, tokens, language)
    with Meter(model) as meter:
        for _ in range(3):  # with zero_grad and no update in between
            model.zero_grad()
            language(model, tokens).backward()
            assert error(meter.example_norms(), expected) < TOLERANCE
        for _ in range(2):
            model.zero_grad()
            for piece in tokens.chunk(2):
                (language(model, piece) / 2).backward()
            assert error(meter.example_norms(), expected) < TOLERANCE
            meter.update(batch_size=8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch's own compiler does
@pytest.mark.parametrize("order", ["before", "after", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled(order: str) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model = Bigram("flat", tied=True)
    tokens = torch.randint(0, 11, (5, 9))
    expected = one_by_one(model, tokens, language)
    backend = "inductor" if order == "inductor" else "aot_eager"  # which compiles no C++
    if order == "before":
        compiled: Any = torch.compile(model, fullgraph=True, backend=backend)
        meter = Meter(compiled)
    else:
        meter = Meter(model)
        compiled = torch.compile(model, fullgraph=True, backend=backend)
    with meter:
        for _ in range(2):
            model.zero_grad()
            language(compiled, tokens).backward()
            assert error(meter.example_norms(), expected) < TOLERANCE
            meter.update(batch_size=5)
        assert list(meter.per_layer()) == ["table + head", "positions", "norm"]
    model.zero_grad()
    language(compiled, tokens).backward()  # without the meter
    with Meter(model) as later:
        model.zero_grad()
        language(model, tokens).backward()
        assert error(later.example_norms(), expected) < TOLERANCE


# The model is left as it was


def test_nothing_is_added_and_nothing_stays(model: nn.Module, tokens: Tensor) -> None:
    def state() -> Any:
        return {
            name: ({**vars(module)}, {**module._forward_hooks}, {**module._forward_pre_hooks})
            for name, module in model.named_modules()
        }

    names, parameters, before = list(model.state_dict()), list(dict(model.named_parameters())), state()
    expected = model(tokens)
    meter = Meter(model, unknown="sampled")
    assert list(model.state_dict()) == names
    assert list(dict(model.named_parameters())) == parameters
    assert not list(model.buffers())
    language(model, tokens).backward()
    meter.close()
    assert repr(state()) == repr(before)
    assert all(not p._backward_hooks for p in model.parameters())
    torch.testing.assert_close(model(tokens), expected, rtol=0, atol=0)


def test_a_method_that_was_there_comes_back() -> None:
    model = Bigram()
    mine = model.head.forward
    model.head.forward = mine  # type: ignore[method-assign]
    with Meter(model):
        assert model.head.__dict__["forward"] is not mine
    assert model.head.__dict__["forward"] is mine


def test_one_meter_at_a_time(model: nn.Module) -> None:
    with Meter(model), pytest.raises(ForescaleError, match="another noise meter"):
        Meter(model)
    Meter(model).close()


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_copies_are_not_followed(model: nn.Module, tokens: Tensor, way: str) -> None:
    with Meter(model) as meter:
        language(model, tokens).backward()
        norms = meter.example_norms()
        if way == "deepcopy":
            twin = copy.deepcopy(model)
        else:
            file = io.BytesIO()
            torch.save(model, file)
            file.seek(0)
            twin = torch.load(file, weights_only=False)
        torch.testing.assert_close(twin(tokens), model(tokens))
        language(twin, tokens[:3]).backward()
        assert torch.equal(meter.example_norms(), norms)
        expected = one_by_one(twin, tokens, language)
        assert error(measured(twin, tokens, language), expected) < TOLERANCE  # and can be followed themselves


def test_evaluation_in_between(model: nn.Module, tokens: Tensor) -> None:
    expected = one_by_one(model, tokens, language)
    with Meter(model) as meter:
        loss = language(model, tokens)
        with torch.no_grad():
            language(model, tokens[:3])
        with torch.inference_mode():
            language(model, tokens[:2])
        loss.backward()
        model.zero_grad()
        with torch.no_grad():
            language(model, tokens[:3])
        assert error(meter.example_norms(), expected) < TOLERANCE
        meter.update(batch_size=8)


def test_a_checkpoint_of_the_averages(model: nn.Module, tokens: Tensor) -> None:
    with Meter(model) as meter:
        for piece in tokens.chunk(2):
            language(model, piece).backward()
            meter.update()
        state = meter.state_dict()
        model.zero_grad()
        language(model, tokens).backward()
        meter.update()
    model.zero_grad()
    with Meter(model) as later:
        later.load_state_dict(state)
        language(model, tokens).backward()
        later.update()
    assert later.noise_scale == meter.noise_scale
