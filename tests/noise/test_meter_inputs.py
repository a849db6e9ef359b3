"""What a meter refuses, and what it must not refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from one_by_one import Bigram, Sequence, error, language, measured, one_by_one, square
from torch import Tensor, nn
from torch.nn import functional

from forescale.errors import ForescaleError
from forescale.noise import Meter
from forescale.noise._kinds._records import MOST_EXAMPLES


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """Two layers that a test calls as it likes."""

    def __init__(self, run: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
        self.run = run

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def refused(model: nn.Module, batch: Any, match: str, loss: Any = square, **options: Any) -> None:
    def step() -> None:
        with Meter(model, **options) as meter:
            loss(model, batch).backward()
            meter.update()

    with pytest.raises(ForescaleError, match=match):
        step()


X = torch.randn(6, 4, 5)


# Batches


def test_a_batch_of_one() -> None:
    model = nn.Linear(5, 3)
    refused(model, X[:1], "two examples or more an optimizer step; got one")
    model.zero_grad()
    with Meter(model) as meter:
        square(model, X[:1]).backward()
        square(model, X[1:2]).backward()
        meter.update(batch_size=2)  # accumulated, it is two


def test_a_wrong_batch_size() -> None:
    model = nn.Linear(5, 3)
    with Meter(model) as meter:
        square(model, X).backward()
        with pytest.raises(ForescaleError, match="had 6 examples; batch_size says 7"):
            meter.update(batch_size=7)
        meter.update(batch_size=6)


def test_too_many_examples() -> None:
    refused(nn.Linear(1, 1), torch.ones(MOST_EXAMPLES + 1, 1), f"holds {MOST_EXAMPLES} examples")
    assert measured(nn.Linear(1, 1), torch.ones(MOST_EXAMPLES, 1)).shape == (MOST_EXAMPLES,)


def test_a_batch_dimension_that_is_not_first() -> None:
    refused(Net(lambda m, x: m.b(m.a(x).transpose(0, 1))), X, "batch dimension first")
    refused(Net(lambda m, x: m.b(m.a(x)[:, 0].repeat(3, 1)[:17])), X, "got 17 rows of 6 examples")
    refused(Net(lambda m, x: m.b(m.a(x).flatten(0, 1)[::2])), X, "got 12 rows of 6 examples")  # a multiple, by accident


def test_no_backward_pass() -> None:
    model = nn.Linear(5, 3)
    with Meter(model) as meter:
        for call in (meter.update, meter.example_norms):
            with pytest.raises(ForescaleError, match="no backward pass"):
                call()
        with pytest.raises(ForescaleError, match=r"at least one update\(\)"):
            _ = meter.noise_scale
        torch.autograd.grad(square(model, X), list(model.parameters()))
        with pytest.raises(ForescaleError, match=r"torch.autograd.grad leaves no trace"):
            meter.update()
        square(model, X).backward()
        meter.update()
        with pytest.raises(ForescaleError, match="no backward pass since its last update"):
            meter.update()


def test_a_second_backward_pass() -> None:
    model = nn.Linear(5, 3)
    with Meter(model):
        loss = square(model, X)
        loss.backward(retain_graph=True)
        with pytest.raises(ForescaleError, match="second backward pass"):
            loss.backward()


# Losses that mix examples


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.SyncBatchNorm(4), nn.BatchNorm1d(4, track_running_stats=False)])
def test_batch_norm(norm: nn.Module) -> None:
    with pytest.raises(ForescaleError, match=r"BatchNorm\w*\) mixes the examples"):
        Meter(Sequence(nn.Linear(5, 5), norm))


def test_batch_norm_in_eval_mode_mixes_nothing() -> None:
    model = Sequence(nn.Linear(5, 5), nn.BatchNorm1d(4, affine=False).eval())
    assert error(measured(model, X), one_by_one(model, X)) < 1e-5


def contrastive(model: nn.Module, x: Tensor) -> Tensor:
    z = functional.normalize(model(x)[:, 0], dim=-1)
    return functional.cross_entropy(z @ z.T / 0.1, torch.arange(len(z)))


def two_towers(model: nn.Module, x: Tensor) -> Tensor:
    one, two = model(x)
    return functional.cross_entropy(one[:, 0] @ two[:, 1].T, torch.arange(len(x)))


def batch_statistics(model: nn.Module, x: Tensor) -> Tensor:
    return functional.batch_norm(model(x).flatten(0, 1), None, None, training=True).square().mean()


@pytest.mark.parametrize("loss", [contrastive, batch_statistics])
def test_losses_that_mix_examples(loss: Any) -> None:
    refused(Net(lambda m, x: m.b(m.a(x).tanh())), X, "the loss mixes the examples", loss)


def test_two_towers() -> None:
    refused(Net(lambda m, x: (m.a(x), m.b(x))), X, "the loss mixes the examples", two_towers)


WEIGHT = torch.randn(5, 5, requires_grad=True)
PLAIN: dict[str, tuple[Callable[[Any, Tensor], Any], Any]] = {
    "a weight of the loss": (lambda m, x: m.b(m.a(x)), lambda m, x: (m(x) @ WEIGHT.tanh()).tanh().square().mean()),
    "a product per example": (
        lambda m, x: m.b(m.a(x)),
        lambda m, x: (lambda y: torch.bmm(y, y.transpose(1, 2)).tanh().mean())(m(x)),
    ),
    "two outputs": (lambda m, x: (m.a(x), m.b(x)), lambda m, x: (lambda y: (y[0] * y[1].tanh()).mean())(m(x))),
    "a dictionary": (lambda m, x: {"y": m.b(m.a(x))}, lambda m, x: m(x)["y"].square().mean()),
    "constants": (lambda m, x: m.b(m.a(x)), lambda m, x: (m(x) @ torch.ones(5, 7)).square().mean()),
    "attention inside": (
        lambda m, x: functional.scaled_dot_product_attention(m.a(x), m.b(x), x),
        lambda m, x: m(x).square().mean(),
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_losses_that_mix_nothing(case: str) -> None:
    run, loss = PLAIN[case]
    model = Net(run)
    assert error(measured(model, X, loss), one_by_one(model, X, loss)) < 1e-5


# How modules are called


def test_a_module_that_is_called_twice() -> None:
    refused(Net(lambda m, x: m.b(m.a(m.a(x)))), X, "a was called more than once")
    model = Net(lambda m, x: m.b(m.a(m.a(x))))
    expected = one_by_one(model, X, parameters=model.b.parameters())
    assert error(measured(model, X, layers=["b"]), expected) < 1e-5


def test_two_forward_passes_and_one_backward_pass() -> None:
    refused(nn.Linear(5, 3), X, "called more than once", lambda m, x: square(m, x) + square(m, x[:2]))


def test_a_module_that_is_not_called_has_no_share() -> None:
    model = Net(lambda m, x: m.a(x).tanh())
    with Meter(model) as meter:
        square(model, X).backward()
        norms = meter.example_norms()
        meter.update(batch_size=6)
        layers = meter.per_layer()
    assert error(norms, one_by_one(model, X)) < 1e-5
    assert (layers["b"].gradient, layers["b"].noise) == (0, 0)
    assert meter.noise_scale.noise == pytest.approx(layers["a"].noise)


def test_a_module_in_some_passes_only() -> None:
    model = Net(lambda m, x: m.a(x) if m.skip else m.b(m.a(x)))
    with Meter(model) as meter:
        for model.skip in (True, False):  # type: ignore[assignment]
            square(model, X).backward()
        with pytest.raises(ForescaleError, match="b took part in some of the step's 2 backward passes only"):
            meter.update()


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: functional.linear(x, m.a.weight) + m.b(x),  # never called
        lambda m, x: functional.linear(m.a(x), m.a.weight) + m.b(x),  # called, and used elsewhere too
        lambda m, x: functional.linear(m.a(x), m.a.weight.T.contiguous()) + m.b(x),
    ],
)
def test_a_weight_that_is_used_outside_of_its_module(run: Any) -> None:
    refused(Net(run), X, "a (has a parameter that is also|got a gradient)")
    model = Net(run)
    expected = one_by_one(model, X, parameters=model.b.parameters())
    assert error(measured(model, X, layers=["b"]), expected) < 1e-5


def test_a_head_that_is_a_function() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 6)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.table(tokens) @ self.table.weight.T

    refused(Tied(), torch.randint(0, 11, (4, 6)), "table has a parameter that is also used", language)


def test_a_penalty_in_the_loss() -> None:
    model = nn.Linear(5, 3)
    refused(model, X, "also used outside", lambda m, x: square(m, x) + 0.1 * m.weight.square().sum())


def test_a_tied_head_before_its_table() -> None:
    model = Bigram(tied=True)
    refused(
        model,
        torch.randint(0, 11, (4, 6)),
        "must be called before it",
        lambda m, x: m.head(m.table.weight[x].detach()).mean(),
    )


@pytest.mark.parametrize("kind", ["linear", "norm", "table"])
def test_parameters_that_are_shared_in_other_ways(kind: str) -> None:
    made: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Linear(5, 5), "norm": lambda: nn.LayerNorm(5), "table": lambda: nn.Embedding(5, 5)
    }  # fmt: skip
    one, two = made[kind](), made[kind]()
    two.weight = one.weight
    with pytest.raises(ForescaleError, match=r"shared between layers\.0, layers\.1"):
        Meter(Sequence(one, two))


# Modules that are not known


class Odd(nn.Module):
    """A matrix of parameters that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btk,ts->bsk", x, self.matrix).tanh()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x, x, x, need_weights=False)[0])


def test_unknown_modules_are_named() -> None:
    with pytest.raises(ForescaleError, match=r"layers\.0 \(Conv1d\), layers\.2 \(Odd\).*sampled"):
        Meter(Sequence(nn.Conv1d(4, 4, 1), nn.Linear(5, 5), Odd()))
    with pytest.raises(ForescaleError, match=r"inner \(MultiheadAttention\), inner\.out_proj"):
        Meter(Attention())
    weight_norm = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5))
    with pytest.raises(ForescaleError, match="ParametrizedLinear"):
        Meter(Sequence(weight_norm))
    changed = nn.Linear(5, 5)
    changed.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ForescaleError, match=r"layers\.0 \(Linear\)"):
        Meter(Sequence(changed))


class OwnNorm(nn.Module):
    """Norms that look like ones that are known, and are not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.weight, self.how = nn.Parameter(torch.ones(5)), how
        if how == "buffer":
            self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "batch":
            return x / x.std((0, 1)) * self.weight
        if self.how == "buffer":
            self.seen += 1
            return x / x.norm(dim=-1, keepdim=True) * self.weight
        return functional.layer_norm(x, (5,), self.weight, None, 1e-6)  # an epsilon that nothing states


@pytest.mark.parametrize(
    "strange",
    [
        OwnNorm("batch"),
        OwnNorm("buffer"),
        OwnNorm("epsilon"),
        nn.LayerNorm((4, 5)),
        nn.RMSNorm((4, 5)),
        nn.Embedding(5, 5, max_norm=1.0),
        nn.Embedding(5, 5, sparse=True),
        nn.Embedding(5, 5, scale_grad_by_freq=True),
    ],
    ids=str,
)
def test_modules_that_a_rule_would_change(strange: nn.Module) -> None:
    with pytest.raises(ForescaleError, match=r"cannot follow the parameters of layers\.1"):
        Meter(Sequence(nn.Linear(5, 5), strange))


def test_norms_of_torchs_under_another_name() -> None:
    class Named(nn.Module):
        def __init__(self, eps: float) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = nn.Parameter(torch.randn(5)), eps

        def forward(self, x: Tensor) -> Tensor:
            return functional.rms_norm(x, (5,), self.weight, self.variance_epsilon)

    model = Sequence(nn.Linear(5, 5), Named(1e-3))
    assert error(measured(model, 1e-2 * X), one_by_one(model, 1e-2 * X)) < 1e-5


def test_a_scale_is_no_norm() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gamma

    model = Sequence(nn.Linear(5, 5), Scale(), nn.LayerNorm(5))
    assert error(measured(model, X), one_by_one(model, X)) < 1e-5
    with Meter(model, "norm") as meter:
        assert [layer.name for layer in meter._layers] == ["layers.2"]


def test_a_step_that_overflowed_is_left_out() -> None:
    model = nn.Linear(5, 3)
    with Meter(model) as meter:
        for scale in (1.0, float("inf"), 1.0):
            model.zero_grad()
            (square(model, X) * scale).backward()
            meter.update(batch_size=6)
        assert meter.noise_scale.value > 0
        assert meter.noise_scale.steps == pytest.approx(2, rel=0.01)


def test_unknown_modules_can_be_skipped() -> None:
    for model, batch, known in (
        (Sequence(nn.Linear(5, 5), Odd()), X, "layers.0"),
        (Attention(), torch.randn(5, 4, 6), "out"),
    ):
        expected = one_by_one(model, batch, parameters=model.get_submodule(known).parameters())
        assert error(measured(model, batch, unknown="skip"), expected) < 1e-5


@pytest.mark.parametrize("pieces", [2, 3])
def test_unknown_modules_can_be_sampled(pieces: int) -> None:
    # By hand: the micro-batches' own gradients, at two batch sizes.
    model = Sequence(nn.Linear(5, 5), Odd())
    found = []
    for piece in X.chunk(pieces):
        model.zero_grad()
        square(model, piece).backward()
        found.append(model.layers[1].matrix.grad.double())  # type: ignore[union-attr]
    each = torch.stack(found)
    small, big = float(each.square().sum((1, 2)).mean()), float(each.mean(0).square().sum())
    gradient = (pieces * big - small) / (pieces - 1)
    model.zero_grad()
    with Meter(model, unknown="sampled") as meter:
        for piece in X.chunk(pieces):
            (square(model, piece) / pieces).backward()
        meter.update(batch_size=6)
        layer = meter.per_layer()["layers.1"]
        assert layer.gradient == pytest.approx(gradient, rel=1e-4)
        assert layer.noise == pytest.approx(6 * (big - gradient), rel=1e-4)
        total = meter.noise_scale.noise
        assert total == pytest.approx(sum(each.noise for each in meter.per_layer().values()))
        assert set(meter.per_type()) == {"linear", "sampled"}


def test_sampling_takes_two_passes() -> None:
    refused(Sequence(nn.Linear(5, 5), Odd()), X, "sampled, which needs two backward passes", unknown="sampled")


def test_attention_can_be_sampled() -> None:
    model = Attention()
    with Meter(model, unknown="sampled") as meter:
        for piece in torch.randn(6, 4, 6).chunk(3):
            (square(model, piece) / 3).backward()
        meter.update(batch_size=6)
        assert set(meter.per_layer()) == {"inner", "inner.out_proj", "out"}


# Options


def test_options() -> None:
    model = Sequence(nn.Linear(5, 5), nn.LayerNorm(5))
    for options, match in (
        ({"exact_every": 10}, 'exact_every goes with layers="norm"'),
        ({"layers": "norm", "exact_every": 0}, "1 or more"),
        ({"mean_over": "words"}, "tokens or examples"),
        ({"beta": 1.0}, "below 1"),
        ({"layers": "linear"}, "give a list of names"),
        ({"layers": ["nothing*"]}, "no trainable layers"),
        ({"unknown": "guess"}, "unknown must be"),
    ):
        with pytest.raises(ForescaleError, match=match):
            Meter(model, **options)  # type: ignore[arg-type]
    with pytest.raises(ForescaleError, match="no trainable layers"):
        Meter(Sequence(nn.Linear(5, 5)).requires_grad_(False))
    with pytest.raises(ForescaleError, match="no trainable layers"):
        Meter(Sequence(nn.Linear(5, 5)), "norm")


def test_names_choose_layers() -> None:
    model = Sequence(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 5))
    with Meter(model, ["*.0", "*.1"]) as meter:
        square(model, X).backward()
        meter.update(batch_size=6)
        assert list(meter.per_layer()) == ["layers.0", "layers.1"]
    with pytest.raises(ForescaleError, match="the state is of other layers"):
        Meter(model).load_state_dict(meter.state_dict())
