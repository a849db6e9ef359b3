"""Each example's squared gradient norm, for every kind of layer, against one-example-at-a-time backward passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_by_one import Bigram, Sequence, error, language, measured, one_by_one, square
from torch import Tensor, nn
from torch.nn import functional

from forescale.errors import ForescaleError
from forescale.noise import Meter
from forescale.noise._kinds import _linear
from forescale.train import ModelOptions, build_model
from forescale.workload import Experts, Shape

TOLERANCE = 1e-5  # relative, in float32: the sums run in other orders


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


class Strange(nn.Module):
    """A norm of someone's own, elementwise in its vectors; another writes it as a scale about 0."""

    def __init__(self, size: int, about: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.randn(size)), nn.Parameter(torch.randn(size))
        self.about = about

    def forward(self, x: Tensor) -> Tensor:
        return x / (1e-3 + x.abs().mean(-1, keepdim=True)) * (self.about + self.scale) + self.shift


class NanoLayerNorm(nn.Module):
    """As scripts write it that want a LayerNorm without bias on an older PyTorch."""

    def __init__(self, size: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


def shaken(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def check(model: nn.Module, batch: Tensor, loss: Any = square) -> None:
    expected = one_by_one(model, batch, loss)
    assert error(measured(model, batch, loss), expected) < TOLERANCE
    assert float(expected.std() / expected.mean()) > 1e-3  # examples differ


# Linear layers


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (7, 5), (3, 4, 5), (1, 5), (40, 5)], ids=str)
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    check(nn.Linear(5, 8, bias=bias), torch.randn(6, *shape))


@pytest.mark.parametrize("way", ["_at_once", "_in_turn", "_in_parts"])
def test_all_ways_to_the_weights_gradient(way: str) -> None:
    x, grad = torch.randn(6, 7, 5), torch.randn(6, 7, 8)
    each = torch.einsum("btk,btl->blk", x.double(), grad.double())
    total, norms = getattr(_linear, way)(x, grad, None, *([4] if way == "_in_parts" else []))
    torch.testing.assert_close(total, each.sum(0).float())
    torch.testing.assert_close(norms, each.square().sum((1, 2)).float(), rtol=TOLERANCE, atol=0)
    torch.testing.assert_close(_linear._gram(x, grad), norms, rtol=TOLERANCE, atol=0)


def test_the_choice_of_way_changes_no_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Linear(16, 24), torch.randn(5, 6, 16)
    found = []
    for cheaper in (True, False):
        monkeypatch.setattr(_linear, "gram_is_cheaper", lambda *_, answer=cheaper: answer)
        found.append(measured(model, x))
    assert error(found[0], found[1].double()) < TOLERANCE


def test_the_two_crossovers() -> None:
    # Facts: operations cross at sqrt(KL / (K + L)), 13.86 at 256 x 768 and 24.79 at 768 x 3072; bytes at 2 T² = KL.
    for inputs, outputs, crossover in ((256, 768, 13.86), (768, 3072, 24.79)):
        assert _linear.gram_is_cheaper(int(crossover), inputs, outputs, 0.0)
        assert not _linear.gram_is_cheaper(int(crossover) + 1, inputs, outputs, 0.0)
        by_bytes = int((inputs * outputs / 2) ** 0.5)
        assert _linear.gram_is_cheaper(by_bytes - 1, inputs, outputs, 1e12)
        assert not _linear.gram_is_cheaper(by_bytes + 1, inputs, outputs, 1e12)


def test_a_bias_is_summed_before_it_is_squared() -> None:
    # The fault of a known tool: the squares of a bias's gradient added over positions, 11 % low on a layer like this.
    model, x = nn.Linear(6, 5), torch.randn(4, 7, 6)
    y = model(x).detach().requires_grad_()
    (grad,) = torch.autograd.grad((y.tanh() + 0.3).square().mean((1, 2)).sum(), y)
    weight = torch.einsum("btl,btk->blk", grad, x).square().sum((1, 2))
    right, wrong = grad.sum(1).square().sum(1), grad.square().sum(1).mean(1)
    found = measured(model, x)
    assert error(found, (weight + right).double()) < TOLERANCE
    assert error(found, (weight + wrong).double()) > 0.1


def test_conv1d_of_gpt2() -> None:
    from transformers.pytorch_utils import Conv1D

    check(Sequence(Conv1D(8, 5), nn.Tanh(), Conv1D(3, 8)), torch.randn(4, 6, 5))


def test_rows_of_all_tokens_are_put_together_by_example() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(0, 1)).view(x.shape)

    check(Flat(), torch.randn(4, 6, 5))


def test_a_layer_that_is_called_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 5), nn.LayerNorm(5), Strange(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(x=self.b(input=self.a(input=x)))

    check(Named(), torch.randn(4, 6, 5))


# Norms


@pytest.mark.parametrize("length", [None, 7, 300])  # 300: past the size from which the fused kernel is used
@pytest.mark.parametrize(
    "norm",
    [
        lambda n: nn.LayerNorm(n),
        lambda n: nn.LayerNorm(n, bias=False),
        lambda n: nn.RMSNorm(n),
        lambda n: nn.RMSNorm(n, eps=1e-3),
        lambda n: NanoLayerNorm(n, bias=True),
        lambda n: NanoLayerNorm(n, bias=False),
        lambda n: Strange(n),
        lambda n: Strange(n, about=1.0),
    ],
    ids=["layer", "layer-no-bias", "rms", "rms-eps", "nano", "nano-no-bias", "strange", "strange-about-1"],
)
def test_norms(norm: Any, length: int | None) -> None:
    size = 250 if length == 300 else 6
    model = shaken(Sequence(nn.Linear(size, size), norm(size)))
    with Meter(model) as meter:
        assert "norm" in meter._layers[1].kind
    check(model, torch.randn(*((5,) if length is None else (3, length)), size))


def test_norms_without_parameters_are_left_alone() -> None:
    model = Sequence(
        nn.Linear(6, 6), nn.LayerNorm(6, elementwise_affine=False), nn.RMSNorm(6, elementwise_affine=False)
    )
    check(model, torch.randn(4, 3, 6))


def test_the_trainers_norm() -> None:
    from forescale.train._norms import RMSNorm

    check(shaken(Sequence(nn.Linear(6, 6), RMSNorm(6, 1e-5))), torch.randn(4, 3, 6))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, Strange])
def test_norms_of_all_tokens_one_after_another(norm: Any) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = norm(5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(x.flatten(0, 1))).unflatten(0, x.shape[:2])

    check(shaken(Flat()), torch.randn(4, 6, 5))


def test_a_norm_inside_attention_heads() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.norm = nn.Linear(8, 8), nn.RMSNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.project(x).unflatten(-1, (2, 4)).transpose(1, 2))

    check(shaken(Heads()), torch.randn(4, 3, 8))


# Tables


def tokens_with_repeats() -> Tensor:
    tokens = torch.randint(0, 11, (5, 9))
    tokens[0, :] = 3
    tokens[1, ::2] = 7
    return tokens


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("positions", ["none", "flat", "one", "each"])
@pytest.mark.parametrize("padding", [None, 3])
def test_embeddings(positions: str, tied: bool, padding: int | None) -> None:
    check(shaken(Bigram(positions, tied, padding)), tokens_with_repeats(), language)


def test_positions_of_as_many_tokens_as_examples() -> None:
    check(shaken(Bigram("flat")), torch.randint(0, 11, (7, 8)), language)  # 7 inputs an example


def test_one_token_an_example() -> None:
    class Labels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(11, 6), nn.Linear(6, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.table(ids))

    for examples in (4, 6):
        check(Labels(), torch.randint(0, 11, (examples,)))


def test_repeated_tokens_are_added_before_they_are_squared() -> None:
    model, tokens = shaken(Bigram()), tokens_with_repeats()
    rows: list[Tensor] = []

    def keep(_: Any, __: Any, output: Tensor) -> None:
        output.register_hook(rows.append)  # type: ignore[no-untyped-call]

    handle = model.table.register_forward_hook(keep)
    model.head.requires_grad_(False)
    model.norm.requires_grad_(False)
    expected = one_by_one(model, tokens, language)
    rows.clear()
    found = measured(model, tokens, language)
    handle.remove()
    assert error(found, expected) < TOLERANCE
    apart = rows[0].square().sum((1, 2)) * len(tokens) ** 2
    assert error(apart, expected) > 0.5  # the fault that this test is for


def test_a_tied_pair_has_a_cross_term() -> None:
    model, tokens = shaken(Bigram(tied=True)), tokens_with_repeats()
    untied = shaken(Bigram())
    untied.load_state_dict({**model.state_dict(), "head.weight": model.table.weight})
    expected = one_by_one(model, tokens, language)
    assert error(measured(model, tokens, language), expected) < TOLERANCE
    assert error(measured(untied, tokens, language), expected) > 1e-2  # the two squared norms added, without the term


def test_frozen_parameters_have_no_share() -> None:
    for frozen in ("table.weight", "norm.weight", "norm.bias", "head.weight", "positions.weight"):
        model = shaken(Bigram("flat"))
        model.get_parameter(frozen).requires_grad_(False)
        check(model, tokens_with_repeats(), language)
    model = shaken(Sequence(nn.Linear(6, 6), Strange(6)))
    model.layers[0].bias.requires_grad_(False)
    model.layers[1].scale.requires_grad_(False)  # type: ignore[union-attr]
    check(model, torch.randn(4, 3, 6))


# Whole models


def ours(options: dict[str, Any] | None = None, **shape: Any) -> nn.Module:
    made = Shape(**{"width": 16, "layers": 2, "heads": 4, "vocab": 32, "ffn_width": 24, **shape})
    return build_model(made, ModelOptions(**options) if options else None, seq_len=16, seed=1)


def objective(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens[:, :-1], tokens[:, 1:]).objective


EXPERTS = Experts(count=4, top_k=2, width=8, shared_width=8, bias=True, router_bias=True)
OURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grouped-query": ({}, {"gated": True, "kv_heads": 2, "qk_norm": "head"}),
    "biases": (
        {},
        {"norm": "layer", "positions": 16, "qkv_bias": True, "o_bias": True, "gated": False, "ffn_bias": True},
    ),
    "masked": ({"density": 0.5}, {"gated": True}),
    "z-loss": ({"z_loss": 1e-2}, {"gated": True}),
    "experts": ({"load_balance": 0.0}, {"gated": True, "experts": EXPERTS}),
    "masked-experts": ({"load_balance": 0.0, "density": 0.5}, {"gated": True, "experts": EXPERTS}),
}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("case", OURS)
def test_the_trainers_decoder(case: str, tied: bool) -> None:
    options, shape = OURS[case]
    check(ours(options, tied=tied, **shape), torch.randint(0, 32, (4, 13)), objective)


def hugging_face(kind: str, tied: bool) -> nn.Module:
    import transformers as hf

    shape = {"vocab_size": 32, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": tied}
    if kind == "gpt2":
        config: Any = hf.GPT2Config(**shape, n_positions=16, n_embd=16, n_layer=2, n_head=2)
        return hf.GPT2LMHeadModel(config).eval()  # without dropout
    rest = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    if kind == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**shape, **rest, num_key_value_heads=2))
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**shape, **rest, num_key_value_heads=2, head_dim=4))


def hf_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(input_ids=tokens, labels=tokens).loss


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_hugging_face(kind: str, tied: bool) -> None:
    check(hugging_face(kind, tied), torch.randint(0, 32, (4, 12)), hf_loss)


# Losses of uneven examples


def padded(lengths: tuple[int, ...]) -> Tensor:
    labels = torch.randint(1, 32, (len(lengths), 12))
    for row, length in zip(labels, lengths, strict=True):
        row[length:] = -100
    return labels


def over_tokens(model: nn.Module, labels: Tensor) -> Tensor:
    kept = labels != -100
    return model(input_ids=labels.clamp(min=0), attention_mask=kept.long(), labels=labels).loss


def over_examples(model: nn.Module, labels: Tensor) -> Tensor:
    return torch.stack([over_tokens(model, row[None]) for row in labels]).mean()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("layers", ["all", "norm"])
def test_uneven_lengths(kind: str, layers: Any) -> None:
    # The mean is over all tokens that count: a long example has more of it, and its own loss is over its own tokens.
    model, labels = hugging_face(kind, True), padded((12, 3, 7, 5))
    norms = [p for name, p in model.named_parameters() if "norm" in name or "ln_" in name]
    expected = one_by_one(model, labels, over_tokens, norms if layers == "norm" else None)
    assert error(measured(model, labels, over_tokens, layers=layers), expected) < TOLERANCE
    equal = measured(model, labels, over_tokens, mean_over="examples", layers=layers)
    assert error(equal, expected) > 0.1  # what the option is for


def test_means_over_examples() -> None:
    model, labels = hugging_face("llama", False), padded((12, 3, 7, 5))

    def loss(model: nn.Module, labels: Tensor) -> Tensor:
        kept = labels != -100
        logits = model(input_ids=labels.clamp(min=0), attention_mask=kept.long()).logits[:, :-1]
        nats = functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")
        return (nats.sum(1) / kept[:, 1:].sum(1)).mean()

    expected = one_by_one(model, labels, loss)
    assert error(measured(model, labels, loss, mean_over="examples"), expected) < TOLERANCE


def test_an_example_without_a_loss_has_no_gradient() -> None:
    model, labels = hugging_face("llama", False), padded((12, 0, 7))
    with Meter(model) as meter:
        over_tokens(model, labels).backward()
        norms = meter.example_norms()
        meter.update(batch_size=3)
        assert meter.noise_scale.tokens_per_example == pytest.approx((11 + 0 + 6) / 3)
    assert norms[1] == 0
    assert (norms[[0, 2]] > 0).all()


# Against another tool


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # tokens have no gradient
def test_the_same_norms_as_opacus() -> None:
    opacus: Any = pytest.importorskip("opacus.grad_sample.grad_sample_module_fast_gradient_clipping")
    model = Sequence(nn.Embedding(11, 6), nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 11), nn.RMSNorm(11))
    shaken(model)
    tokens = tokens_with_repeats()
    found = measured(model, tokens, language)
    wrapped = opacus.GradSampleModuleFastGradientClipping(
        model, max_grad_norm=1.0, use_ghost_clipping=True, batch_first=True, loss_reduction="mean"
    )
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()
    functional.cross_entropy(wrapped(inputs).flatten(0, 1), targets).backward()
    theirs = wrapped.get_norm_sample().double().square()
    assert error(found, theirs) < TOLERANCE


def test_a_loss_that_multiplies_examples_is_refused() -> None:
    model = nn.Linear(5, 4)

    def contrastive(model: nn.Module, x: Tensor) -> Tensor:
        z = functional.normalize(model(x), dim=-1)
        return functional.cross_entropy(z @ z.T / 0.1, torch.arange(len(x)))

    with pytest.raises(ForescaleError, match="mixes the examples"):
        measured(model, torch.randn(4, 5), contrastive)


def test_norms_can_be_read_before_and_after_the_update_that_counts_them() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)), torch.randn(4, 5)
    with Meter(model) as meter:
        model(x).square().mean().backward()
        before = meter.example_norms()
        meter.update(batch_size=4)
        assert torch.equal(meter.example_norms(), before)
        model(2 * x).square().mean().backward()
        assert not torch.equal(meter.example_norms(), before)
