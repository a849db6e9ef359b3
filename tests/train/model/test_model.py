"""The decoder: counts, causality, losses, experts, memory savers, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from forescale.errors import ForescaleError
from forescale.train import ModelOptions, _experts, build_model
from forescale.train._attention import Attention
from forescale.train._experts import ExpertFFN
from forescale.train._ffn import activate
from forescale.train._positions import alibi_bias, alibi_slopes, rotary_tables, rotary_turn, rotate
from forescale.workload import Experts, LatentAttention, Shape

SMALL = Shape(layers=2, width=32, heads=4, vocab=50, ffn_width=48)
MOE = replace(SMALL, experts=Experts(count=4, top_k=2, width=24, shared_width=16, dense_layers=1, bias=True))
GPT = replace(SMALL, norm="layer", gated=False, positions=16, tied=True, qkv_bias=True, o_bias=True, ffn_bias=True)
LENGTH = 16


def tokens(seed: int = 0, batch: int = 3, length: int = LENGTH, vocab: int = 50) -> Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def build(shape: Shape = SMALL, seed: int = 0, **options: Any) -> Any:
    return build_model(shape, ModelOptions(**options) if options else None, seq_len=LENGTH, seed=seed)


def gradients(model: Any, seed: int = 0) -> list[Tensor]:
    model.zero_grad()
    model(tokens(seed), tokens(seed + 1)).objective.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kv, layers = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    expert = Experts(
        count=4, top_k=draw(st.integers(1, 4)), width=draw(st.integers(1, 9)), shared_width=draw(st.integers(0, 5)),
        dense_layers=layers - 1, bias=draw(st.booleans()), router_bias=draw(st.booleans()),
    )  # fmt: skip
    return Shape(
        layers=layers, width=draw(st.integers(1, 24)), heads=kv * draw(st.integers(1, 3)), kv_heads=kv,
        head_dim=draw(st.sampled_from([2, 4, 6])), vocab=draw(st.integers(2, 40)), gated=draw(st.booleans()),
        ffn_width=draw(st.none() | st.integers(1, 30)), norm=draw(st.sampled_from(["rms", "layer"])),
        qk_norm=draw(st.sampled_from([None, "head", "full"])), qkv_bias=draw(st.booleans()),
        o_bias=draw(st.booleans()), ffn_bias=draw(st.booleans()), positions=draw(st.none() | st.just(LENGTH)),
        tied=draw(st.booleans()), experts=draw(st.none() | st.just(expert)),
    )  # fmt: skip


@given(shape=shapes())
@settings(max_examples=60, deadline=None)
def test_every_parameter_is_counted_and_used(shape: Shape) -> None:
    model = build(shape)
    assert sum(p.numel() for p in model.parameters()) == sum(part.params for part in shape.parts())
    logits = model(tokens(vocab=shape.vocab))
    assert logits.shape == (3, LENGTH, shape.vocab)
    model(tokens(vocab=shape.vocab), tokens(1, vocab=shape.vocab)).objective.backward()
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in model.parameters())


def test_parameters_have_the_names_that_roles_are_found_by() -> None:
    names = {name for name, _ in build(replace(GPT, tied=False, qk_norm="head")).named_parameters()}
    weights = [
        "attention_norm", "attention.qkv", "attention.q_norm", "attention.k_norm", "attention.output", "ffn_norm",
        "ffn.input", "ffn.output",
    ]  # fmt: skip
    expected = {f"blocks.{i}.{name}.{end}" for i in (0, 1) for name in weights for end in ("weight", "bias")}
    assert names == expected | {
        "embedding.weight", "positions.weight", "norm.weight", "norm.bias", "head.weight",
    }  # fmt: skip
    experts = {name.removeprefix("blocks.1.ffn.") for name, _ in build(MOE).named_parameters() if "1.ffn." in name}
    assert experts == {
        "router.weight", "experts.input", "experts.output", "experts.input_bias", "experts.output_bias",
        "shared.input.weight", "shared.input.bias", "shared.output.weight", "shared.output.bias",
    }  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"position": "alibi"}, {"position": "none"}], ids=str)
@pytest.mark.parametrize("shape", [SMALL, MOE, replace(SMALL, kv_heads=2)], ids=["dense", "experts", "grouped"])
def test_no_token_sees_a_later_one(shape: Shape, options: dict[str, Any]) -> None:
    model, one, other = build(shape, **options), tokens(), tokens(5)
    other[:, :7] = one[:, :7]
    assert torch.allclose(model(one)[:, :7], model(other)[:, :7], atol=1e-6)
    assert not torch.allclose(model(one)[:, 7:], model(other)[:, 7:], atol=1e-6)


@pytest.mark.parametrize("position", ["rotary", "alibi"])
def test_a_shorter_sequence_gives_the_same_logits(position: Any) -> None:
    model = build(position=position)
    torch.testing.assert_close(model(tokens()[:, :5]), model(tokens())[:, :5])


def test_initial_values() -> None:
    model = build(replace(GPT, width=128, vocab=500))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            assert parameter.detach().std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, float("norm.weight" in name))), name


def test_the_seed_decides_the_values() -> None:
    first, same, other = (build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_meta_device_has_shapes_and_can_be_filled() -> None:
    options = ModelOptions(density=0.5)
    meta: Any = build_model(SMALL, options, seq_len=LENGTH, device="meta")
    assert all(p.is_meta for p in meta.parameters())
    filled, real = meta.to_empty(device="cpu"), build(density=0.5)
    filled.fill_buffers_()
    for (name, ours), (_, theirs) in zip(filled.named_buffers(), real.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    filled.load_state_dict(real.state_dict())
    assert torch.equal(filled(tokens()), real(tokens()))


# The loss is worked out from the logits by the definitions.
def test_losses_by_definition() -> None:
    model, targets = build(z_loss=0.1).double(), tokens(1)
    log_p = model(tokens()).log_softmax(-1)
    nats = -log_p.gather(-1, targets.unsqueeze(-1)).mean()
    z = model(tokens()).exp().sum(-1).log().square().mean()
    losses = model(tokens(), targets)
    torch.testing.assert_close(losses.loss, nats.detach())
    torch.testing.assert_close(losses.objective, nats + 0.1 * z)
    assert not losses.loss.requires_grad


def test_gradients_are_those_of_finite_differences() -> None:
    shape = Shape(layers=1, width=8, heads=2, kv_heads=1, vocab=7, ffn_width=6, qk_norm="head", experts=None)
    shape = replace(shape, layers=2, experts=Experts(count=3, top_k=2, width=4, shared_width=3, dense_layers=1))
    model: Any = build_model(shape, ModelOptions(z_loss=0.1), seq_len=5, seed=3).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 if parameter.dim() == 1 else 20)  # so that no choice of experts is a near tie
    names = [name for name, _ in model.named_parameters()]
    one, two = tokens(0, 2, 5, 7), tokens(1, 2, 5, 7)

    def objective(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (one, two)).objective

    assert torch.autograd.gradcheck(objective, tuple(model.parameters()), fast_mode=True)


def test_logits_are_float32_under_autocast() -> None:
    model = build(replace(SMALL, qk_norm="head", kv_heads=2))
    with torch.autocast("cpu", torch.bfloat16):
        logits, losses = model(tokens()), model(tokens(), tokens(1))
    assert logits.dtype == losses.objective.dtype == torch.float32
    assert torch.allclose(logits, model(tokens()), atol=0.02)


@pytest.mark.parametrize("shape", [SMALL, MOE], ids=["dense", "experts"])
def test_checkpointing_changes_no_gradient(shape: Shape) -> None:
    plain, saving = gradients(build(shape)), gradients(build(shape, checkpointing=True))
    assert all(map(torch.equal, plain, saving))


def test_it_compiles_without_a_break() -> None:
    model = build(replace(SMALL, layers=1, kv_heads=2, qk_norm="full"))
    expected = gradients(model)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    model.zero_grad()
    compiled(tokens(), tokens(1)).objective.backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], expected)


# Each token by itself through the experts that it chose, from the definition.
@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("gated", [True, False])
def test_experts_by_definition(top_k: int, gated: bool) -> None:
    shape = replace(SMALL, gated=gated, experts=Experts(count=4, top_k=top_k, width=24, shared_width=16))
    layer: Any = build(shape).double().blocks[0].ffn
    x = torch.randn(3, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, balance = layer(x * 10)
    flat = (x * 10).view(-1, 32)
    p = functional.linear(flat, layer.router.weight).softmax(-1)
    for row, probabilities, got in zip(flat, p, y.view(-1, 32), strict=True):
        chosen = probabilities.argsort(descending=True)[:top_k]
        scale = probabilities[chosen].sum() if top_k > 1 else 1.0
        expected = layer.shared(row) + sum(
            probabilities[e] / scale * layer.experts.output[e] @ hidden(layer.experts.input[e] @ row, gated)
            for e in chosen.tolist()
        )
        torch.testing.assert_close(got, expected)
    share = torch.bincount(p.topk(top_k).indices.flatten(), minlength=4) / (15 * top_k)
    torch.testing.assert_close(balance, 4 * (share * p.mean(0)).sum())
    torch.testing.assert_close(layer.load, share.double())


def hidden(x: Tensor, gated: bool) -> Tensor:
    if not gated:
        return functional.gelu(x)
    gate, up = x[: len(x) // 2], x[len(x) // 2 :]
    return functional.silu(gate) * up


@pytest.mark.skipif(not hasattr(functional, "grouped_mm"), reason="this PyTorch has no grouped_mm")
@pytest.mark.parametrize("bias", [True, False])
def test_experts_in_one_kernel_and_one_by_one_agree(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    shape = replace(SMALL, experts=Experts(count=5, top_k=2, width=24, bias=bias))
    plain, grouped = build(shape), build(shape)
    expected = gradients(plain)
    calls: list[Any] = []
    monkeypatch.setattr(_experts, "_can_group", lambda *arguments: calls.append(arguments) or True)
    torch.testing.assert_close(gradients(grouped), expected)
    assert len(calls) == 4  # two matrices in each of two layers


def test_even_routing_has_balance_one_and_a_pile_up_costs_more() -> None:
    layer = next(m for m in build(MOE).modules() if isinstance(m, ExpertFFN))
    x = torch.randn(64, 32)
    with torch.no_grad():
        layer.router.weight.zero_()
        assert float(layer(x)[1]) == pytest.approx(1.0)
        layer.router.weight[0] = 5.0
        assert float(layer(x.abs())[1]) > 1.5


def test_the_balance_term_is_the_mean_over_layers_with_experts() -> None:
    shape = replace(SMALL, layers=3, experts=Experts(count=4, top_k=2, width=24, dense_layers=1))
    with_term, without = build(shape, load_balance=0.5), build(shape, load_balance=0.0)
    losses = with_term(tokens(), tokens(1))
    balances = [4 * (m.load * p).sum() for m, p in zip(routers(with_term), probabilities(with_term), strict=True)]
    torch.testing.assert_close(losses.objective.detach() - losses.loss, 0.5 * torch.stack(balances).mean())
    plain = without(tokens(), tokens(1))
    assert plain.objective.item() == plain.loss.item() == losses.loss.item()
    assert with_term.expert_load().shape == (2, 4)
    torch.testing.assert_close(with_term.expert_load().sum(1), torch.ones(2))
    assert build().expert_load() is None


def routers(model: Any) -> list[ExpertFFN]:
    return [module for module in model.modules() if isinstance(module, ExpertFFN)]


def probabilities(model: Any) -> list[Tensor]:
    kept: list[Tensor] = []
    hooks = [
        m.router.register_forward_hook(lambda *a: kept.append(a[2].softmax(-1).mean(0).detach()))
        for m in routers(model)
    ]
    model(tokens())
    for hook in hooks:
        hook.remove()
    return kept


# Press et al. (2022), section 3: 2^(-8/n), 2^(-16/n), ... and, for 8 heads, 1/2 to 1/256.
def test_alibi_slopes() -> None:
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(16)[:2] == [2**-0.5, 2**-1.0]
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    bias = alibi_bias(5, 8)
    assert bias[1, 4].tolist() == [-1.0, -0.75, -0.5, -0.25, 0.0]
    assert torch.isinf(bias[0][torch.ones(5, 5, dtype=torch.bool).triu(1)]).all()


@pytest.mark.parametrize("on_cpu", [True, False])
def test_rotary_positions_see_distances_alone(on_cpu: bool) -> None:
    tables = [table.double() for table in rotary_tables(32, 8, 100.0)]
    turn = rotary_turn(*tables, heads=2) if on_cpu else torch.stack(tables).unsqueeze(2)
    assert turn.is_complex() == on_cpu
    q, k = torch.randn(2, 8, dtype=torch.float64)
    turned_q, turned_k = (rotate(x.expand(1, 32, 1, 8), turn)[0, :, 0] for x in (q, k))
    scores = turned_q @ turned_k.T
    for offset in (0, 3, -5):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores[0, 0], q @ k)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(32), rtol=1e-5, atol=1e-5)


def test_both_ways_to_turn_give_the_same_scores_and_gradients() -> None:
    tables = [table.double() for table in rotary_tables(6, 8, 100.0)]
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)[..., ::2].requires_grad_()
    scores = [
        torch.einsum(
            "bthd,bshd->bhts", *rotate(x, turn).split((2, 1), 2)[:1], rotate(x, turn)[:, :, :1].expand(-1, -1, 2, -1)
        )
        for turn in (rotary_turn(*tables, heads=5), torch.stack(tables).unsqueeze(2))
    ]
    torch.testing.assert_close(*scores)
    torch.testing.assert_close(*(torch.autograd.grad(s.sin().sum(), x)[0] for s in scores))
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotary_turn(*tables, heads=3)), x)


@pytest.mark.parametrize(
    ("name", "function"),
    [("silu", functional.silu), ("gelu", functional.gelu), ("relu2", lambda x: functional.relu(x) ** 2)],
)
def test_activations(name: Any, function: Any) -> None:
    x = torch.randn(4, 10)
    torch.testing.assert_close(activate(x, name, False), function(x))
    torch.testing.assert_close(activate(x, name, True), function(x[:, :5]) * x[:, 5:])
    assert build(activation=name)(tokens()).isfinite().all()


def test_the_scale_of_attention() -> None:
    plain, same, other = build(), build(attention_scale=8**-0.5), build(attention_scale=8.0)
    assert torch.equal(plain(tokens()), same(tokens()))
    assert not torch.allclose(plain(tokens()), other(tokens()), atol=1e-6)
    assert isinstance(other.blocks[0].attention, Attention)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"latent": LatentAttention(kv_rank=3, nope_dim=4, rope_dim=2, v_dim=5)},
            {},
            "needs a shape with latent None; got Latent",
        ),
        ({"sinks": True}, {}, "needs a shape with sinks False; got True"),
        ({"norms_per_layer": 4}, {}, "needs a shape with norms_per_layer 2; got 4"),
        ({"positions": 16}, {"position": "rotary"}, "positions go together; got position 'rotary' and positions 16"),
        ({}, {"position": "learned"}, "positions go together; got position 'learned' and positions None"),
        ({"positions": 9}, {"position": "learned"}, "must reach seq_len; got 9 for 16"),
        ({"head_dim": 7}, {}, "head_dim must be even; got 7"),
    ],
    ids=str,
)
def test_shapes_that_the_model_cannot_have(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        build(replace(SMALL, **change), **options)


def test_a_shape_without_heads_and_a_bad_seq_len() -> None:
    with pytest.raises(ForescaleError, match="this shape states no heads"):
        build(Shape(width=32, depth=2))
    with pytest.raises(ForescaleError, match="seq_len must lie between 1 and 1e9; got 0"):
        build_model(SMALL, seq_len=0)


def test_a_longer_sequence_is_refused() -> None:
    with pytest.raises(ForescaleError, match="at most seq_len 16 long; got 17 tokens: build"):
        build()(tokens(length=17))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "relative"}, "position must be one of 'rotary', .* got 'relative'"),
        ({"activation": "swiglu"}, "activation must be one of 'silu', 'gelu', 'relu2', None; got 'swiglu'"),
        ({"density": 0.0}, "density must be a number above 0; got 0.0"),
        ({"density": 1.5}, "density must be above 0 and at most 1; got 1.5"),
        ({"z_loss": -1e-4}, "z_loss must be a number 0 or more; got -0.0001"),
        ({"load_balance": float("nan")}, "load_balance must be a number 0 or more; got nan"),
        ({"rope_base": None}, "rope_base must be a number above 0; got None"),
        ({"norm_eps": True}, "norm_eps must be a number above 0; got True"),
        ({"attention_scale": 0}, "attention_scale must be a number above 0; got 0"),
        ({"mask_seed": 1.5}, "mask_seed must be a whole number; got 1.5"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForescaleError, match=message):
        ModelOptions(**options)
