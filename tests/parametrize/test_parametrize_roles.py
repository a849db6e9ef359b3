"""Roles of every tensor, written by hand from each architecture; what has no rule is refused and says what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parametrize_models import NanoGPT, Titan, hugging_face, on_meta
from torch import nn

from forescale.errors import ForescaleError, UnknownNameError
from forescale.parametrize import parametrization
from forescale.train import ModelOptions, build_model
from forescale.workload import Experts, Shape

BASE = Shape(width=12, depth=1)

LLAMA = {
    "model.embed_tokens.weight": "embedding",
    "model.layers.*.self_attn.q_proj.weight": "hidden",
    "model.layers.*.self_attn.k_proj.weight": "hidden",
    "model.layers.*.self_attn.v_proj.weight": "hidden",
    "model.layers.*.self_attn.o_proj.weight": "residual_output +",
    "model.layers.*.mlp.gate_proj.weight": "hidden",
    "model.layers.*.mlp.up_proj.weight": "hidden",
    "model.layers.*.mlp.down_proj.weight": "residual_output +",
    "model.layers.*.input_layernorm.weight": "norm",
    "model.layers.*.post_attention_layernorm.weight": "norm",  # it stands before the FFN
    "model.norm.weight": "norm",
    "lm_head.weight": "unembedding",
}
QK = {f"model.layers.*.self_attn.{n}_norm.weight": "qk_norm" for n in "qk"}
MOE = {k: v for k, v in LLAMA.items() if ".mlp." not in k} | {
    "model.layers.*.mlp.gate.weight": "router",
    "model.layers.*.mlp.experts.gate_up_proj": "expert",
    "model.layers.*.mlp.experts.down_proj": "expert +",
}
OLMO2 = {k: v.replace(" +", "") for k, v in LLAMA.items() if "input_layernorm" not in k} | QK
OLMO2 |= {f"model.layers.*.post_{n}_layernorm.weight": "norm +" for n in ("attention", "feedforward")}


def with_biases(linear: dict[str, str], biases: dict[str, str]) -> dict[str, str]:
    return linear | {f"{name}.bias": role for name, role in biases.items()}


GPT2 = {
    "transformer.wte.weight": "embedding tied",
    "transformer.wpe.weight": "position",
    "transformer.h.*.ln_1.weight": "norm",
    "transformer.h.*.ln_1.bias": "norm",
    "transformer.h.*.attn.c_attn.weight": "hidden",
    "transformer.h.*.attn.c_attn.bias": "bias",
    "transformer.h.*.attn.c_proj.weight": "residual_output +",
    "transformer.h.*.attn.c_proj.bias": "bias +",
    "transformer.h.*.ln_2.weight": "norm",
    "transformer.h.*.ln_2.bias": "norm",
    "transformer.h.*.mlp.c_fc.weight": "hidden",
    "transformer.h.*.mlp.c_fc.bias": "bias",
    "transformer.h.*.mlp.c_proj.weight": "residual_output +",
    "transformer.h.*.mlp.c_proj.bias": "bias +",
    "transformer.ln_f.weight": "norm",
    "transformer.ln_f.bias": "norm",
}
NANOGPT = {k: v.replace(" tied", "") for k, v in GPT2.items() if "bias" not in k} | {"lm_head.weight": "unembedding"}
NEOX = with_biases(
    {
        "gpt_neox.embed_in.weight": "embedding",
        "gpt_neox.layers.*.input_layernorm.weight": "norm",
        "gpt_neox.layers.*.post_attention_layernorm.weight": "norm",
        "gpt_neox.layers.*.attention.query_key_value.weight": "hidden",
        "gpt_neox.layers.*.attention.dense.weight": "residual_output +",
        "gpt_neox.layers.*.mlp.dense_h_to_4h.weight": "hidden",
        "gpt_neox.layers.*.mlp.dense_4h_to_h.weight": "residual_output +",
        "gpt_neox.final_layer_norm.weight": "norm",
        "lm_head.weight": "unembedding",
    },
    {
        "gpt_neox.layers.*.input_layernorm": "norm",
        "gpt_neox.layers.*.post_attention_layernorm": "norm",
        "gpt_neox.layers.*.attention.query_key_value": "bias",
        "gpt_neox.layers.*.attention.dense": "bias +",
        "gpt_neox.layers.*.mlp.dense_h_to_4h": "bias",
        "gpt_neox.layers.*.mlp.dense_4h_to_h": "bias +",
        "gpt_neox.final_layer_norm": "norm",
    },
)
# Gemma 2 normalises branches like OLMo 2, has norms before them as well, ties, and scales its embedding in the forward.
GEMMA2 = {k: v.replace("residual_output +", "residual_output") for k, v in LLAMA.items() if k != "lm_head.weight"}
GEMMA2 |= {f"model.layers.*.post_{n}_layernorm.weight": "norm +" for n in ("attention", "feedforward")}
GEMMA2 |= {"model.layers.*.pre_feedforward_layernorm.weight": "norm", "model.embed_tokens.weight": "embedding tied"}
GLM4 = {k: v.replace(" +", "") for k, v in LLAMA.items() if "gate_proj" not in k and "up_proj" not in k}
GLM4 |= {"model.layers.*.mlp.gate_up_proj.weight": "hidden"}
GLM4 |= {f"model.layers.*.post_{n}_layernorm.weight": "norm +" for n in ("self_attn", "mlp")}
GPT_OSS = {k: v for k, v in LLAMA.items() if ".mlp." not in k} | {
    "model.layers.*.mlp.router.weight": "router",
    "model.layers.*.mlp.router.bias": "bias",
    "model.layers.*.mlp.experts.gate_up_proj": "expert",
    "model.layers.*.mlp.experts.gate_up_proj_bias": "bias",
    "model.layers.*.mlp.experts.down_proj": "expert +",
    "model.layers.*.mlp.experts.down_proj_bias": "bias +",
    "model.layers.*.self_attn.sinks": "bias",  # declared
    **{f"model.layers.*.self_attn.{n}_proj.bias": "bias" for n in "qkv"},
    "model.layers.*.self_attn.o_proj.bias": "bias +",
}
TITAN = {
    "tok_embeddings.weight": "embedding",
    "layers.*.attention.wq.weight": "hidden",
    "layers.*.attention.wk.weight": "hidden",
    "layers.*.attention.wv.weight": "hidden",
    "layers.*.attention.wo.weight": "residual_output +",
    "layers.*.attention.q_norm.weight": "qk_norm",
    "layers.*.attention.k_norm.weight": "qk_norm",
    "layers.*.feed_forward.w1.weight": "hidden",
    "layers.*.feed_forward.w3.weight": "hidden",
    "layers.*.feed_forward.w2.weight": "residual_output +",
    "layers.*.attention_norm.weight": "norm",
    "layers.*.ffn_norm.weight": "norm",
    "norm.weight": "norm",
    "output.weight": "unembedding",
}
TITAN_MOE = {k: v for k, v in TITAN.items() if "feed_forward" not in k} | {
    "layers.*.moe.router.gate.weight": "router",
    "layers.*.moe.experts.w1": "expert",
    "layers.*.moe.experts.w2": "expert +",
    "layers.*.moe.experts.w3": "expert",
    "layers.*.moe.shared_experts.w1.weight": "hidden",
    "layers.*.moe.shared_experts.w3.weight": "hidden",
    "layers.*.moe.shared_experts.w2.weight": "residual_output +",
}
OURS = {
    "embedding.weight": "embedding tied",
    "positions.weight": "position",
    "blocks.*.attention_norm.weight": "norm",
    "blocks.*.attention_norm.bias": "norm",
    "blocks.*.attention.qkv.weight": "hidden",
    "blocks.*.attention.qkv.bias": "bias",
    "blocks.*.attention.output.weight": "residual_output +",
    "blocks.*.attention.output.bias": "bias +",
    "blocks.*.ffn_norm.weight": "norm",
    "blocks.*.ffn_norm.bias": "norm",
    "blocks.*.ffn.input.weight": "hidden",
    "blocks.*.ffn.input.bias": "bias",
    "blocks.*.ffn.output.weight": "residual_output +",
    "blocks.*.ffn.output.bias": "bias +",
    "norm.weight": "norm",
    "norm.bias": "norm",
}
OURS_MOE = {
    "embedding.weight": "embedding",
    "blocks.*.attention_norm.weight": "norm",
    "blocks.*.attention.qkv.weight": "hidden",
    "blocks.*.attention.q_norm.weight": "qk_norm",
    "blocks.*.attention.k_norm.weight": "qk_norm",
    "blocks.*.attention.output.weight": "residual_output +",
    "blocks.*.ffn_norm.weight": "norm",
    "blocks.*.ffn.router.weight": "router",
    "blocks.*.ffn.router.bias": "bias",
    "blocks.*.ffn.experts.input": "expert",
    "blocks.*.ffn.experts.output": "expert +",
    "blocks.*.ffn.experts.input_bias": "bias",
    "blocks.*.ffn.experts.output_bias": "bias +",
    "blocks.*.ffn.shared.input.weight": "hidden",
    "blocks.*.ffn.shared.input.bias": "bias",
    "blocks.*.ffn.shared.output.weight": "residual_output +",
    "blocks.*.ffn.shared.output.bias": "bias +",
    "norm.weight": "norm",
    "head.weight": "unembedding",
}


def ours(shape: Shape, **options: Any) -> Any:
    return build_model(shape, ModelOptions(**options), seq_len=8, device="meta")


OUR_DENSE = Shape(
    width=24, layers=2, heads=2, vocab=31, gated=False, norm="layer", qkv_bias=True, o_bias=True, ffn_bias=True,
    positions=8, tied=True,
)  # fmt: skip
OUR_EXPERTS = Shape(
    width=24, layers=2, heads=2, vocab=31, qk_norm="head",
    experts=Experts(count=3, top_k=2, width=16, shared_width=16, bias=True, router_bias=True),
)  # fmt: skip
MODELS: dict[str, tuple[Any, dict[str, str]]] = {
    "Llama": (lambda: hugging_face("Llama"), LLAMA),
    "GPT2": (lambda: hugging_face("GPT2"), GPT2),
    "Mistral": (lambda: hugging_face("Mistral"), LLAMA),
    "Qwen2": (
        lambda: hugging_face("Qwen2", tie_word_embeddings=True),
        {k: v + " tied" * (v == "embedding") for k, v in LLAMA.items() if k != "lm_head.weight"}
        | {f"model.layers.*.self_attn.{n}_proj.bias": "bias" for n in "qkv"},
    ),
    "Qwen3": (lambda: hugging_face("Qwen3", head_dim=8), LLAMA | QK),
    "Olmo2": (lambda: hugging_face("Olmo2"), OLMO2),
    "Mixtral": (lambda: hugging_face("Mixtral", num_local_experts=3), MOE),
    "Qwen3Moe": (
        lambda: hugging_face("Qwen3Moe", num_experts=3, num_experts_per_tok=2, head_dim=8, moe_intermediate_size=16),
        MOE | QK,
    ),
    "GPTNeoX": (lambda: hugging_face("GPTNeoX"), NEOX),
    "Granite": (lambda: hugging_face("Granite", tie_word_embeddings=False), LLAMA),
    "Glm4": (lambda: hugging_face("Glm4", head_dim=12, attention_bias=False), GLM4),
    "nanoGPT": (lambda: on_meta(NanoGPT), NANOGPT),
    "nanoGPT, tied, with biases": (lambda: on_meta(NanoGPT, bias=True, tied=True), GPT2),
    "torchtitan": (lambda: on_meta(Titan), TITAN),
    "torchtitan, experts": (lambda: on_meta(Titan, experts=3), TITAN_MOE),
    "ours": (lambda: ours(OUR_DENSE, position="learned"), OURS),
    "ours, experts": (lambda: ours(OUR_EXPERTS, density=0.5), OURS_MOE),
}
DECLARED = {
    "Gemma2": ({"tie_word_embeddings": True, "head_dim": 12}, {"model.embed_tokens.weight": "embedding"}, GEMMA2),
    "GptOss": ({"num_local_experts": 3, "head_dim": 12}, {"*.sinks": "bias"}, GPT_OSS),
}


def role_map(rules: Any, model: Any) -> dict[str, str]:
    """Name, blocks' numbers as stars, to role; + takes over the residual multiplier."""
    found: dict[str, str] = {}
    for t in rules.tensors(model):
        name = ".".join("*" if part.isdigit() else part for part in t.name.split("."))
        said = t.role + " +" * (t.carries == "residual") + " tied" * t.tied
        assert found.setdefault(name, said) == said
    return found


@pytest.mark.parametrize("name", MODELS)
def test_roles(name: str) -> None:
    make, expected = MODELS[name]
    assert role_map(parametrization("completep", base=BASE), make()) == expected


@pytest.mark.parametrize("name", DECLARED)
def test_roles_with_one_declared(name: str) -> None:
    options, roles, expected = DECLARED[name]
    model = hugging_face(name, **options)
    with pytest.raises(UnknownNameError, match="every parameter needs a role"):
        parametrization("completep", base=BASE).tensors(model)
    assert role_map(parametrization("completep", base=BASE, roles=roles), model) == expected


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_gets_groups_that_hold_each_parameter_once(name: str) -> None:
    model = MODELS[name][0]()
    groups = parametrization("completep", base=BASE).param_groups(model, {"learning_rate": 1e-2})
    parameters = [p for group in groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))
    assert {n for group in groups for n in group["param_names"]} == {n for n, _ in model.named_parameters()}
    assert len(groups) <= 10


def test_ours_takes_what_the_shape_says() -> None:
    """The counts of the shape, an independent derivation, are those of the roles."""
    model = ours(OUR_EXPERTS)
    sizes: dict[str, int] = {}
    for t in parametrization("mup", base=BASE).tensors(model):
        part = {"embedding": "embedding", "unembedding": "head", "norm": "norms", "qk_norm": "norms"}.get(
            t.role, "blocks"
        )
        sizes[part] = sizes.get(part, 0) + torch.Size(t.shape).numel()
    counted = {p.name: p.params for p in OUR_EXPERTS.parts()}
    for part in ("embedding", "head", "norms"):
        assert sizes[part] == counted.pop(part)
    assert sizes["blocks"] == sum(counted.values())


# --- What has no rule
def rules_of(model: Any, scheme: str = "completep", **options: Any) -> Any:
    return parametrization(scheme, base=BASE, **options).rules(model)


@pytest.mark.parametrize("scheme", ["standard", "mup", "completep"])
def test_unknown_names_are_listed_with_the_argument_that_declares_them(scheme: str) -> None:
    model = on_meta(NanoGPT)
    model.transformer["h"][0].adapter = on_meta(nn.Linear, 16, 16, bias=False)
    model.transformer["h"][1].adapter = on_meta(nn.Linear, 16, 16, bias=False)
    model.gains = nn.Parameter(torch.ones(3, device="meta"))
    with pytest.raises(UnknownNameError) as error:
        rules_of(model, scheme)
    assert r"transformer.h.*.adapter.weight [16, 16]" in str(error.value)
    assert "gains [3]" in str(error.value)
    assert "roles={'gains': '...', 'transformer.h.*.adapter.weight': '...'}" in str(error.value)
    declared = rules_of(model, scheme, roles={"gains": "norm", "transformer.h.*.adapter.weight": "residual_output"})
    assert {r.tensor.name: r.tensor.role for r in declared}["gains"] == "norm"
    adapters = [r for r in declared if "adapter" in r.tensor.name]
    assert len(adapters) == 2
    assert all(r.absorbed == (0.5 if scheme == "completep" else 1) for r in adapters)


def test_a_declared_name_must_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"roles names transformer\.h\.\*\.adapter"):
        rules_of(on_meta(NanoGPT), roles={"transformer.h.*.adapter": "hidden"})


def test_a_declaration_goes_before_the_name() -> None:
    roles = {"*.mlp.c_fc.weight": "expert"}
    assert "expert" in {r.tensor.role for r in rules_of(on_meta(NanoGPT), roles=roles)}


def test_a_matrix_named_like_the_last_one_that_does_not_write_the_stream() -> None:
    """Qwen 1 calls the gate of its FFN w2: read as the end of a branch, the multiplier would be taken over twice."""
    model = on_meta(NanoGPT)
    for block in model.transformer["h"]:
        block.mlp.w2 = on_meta(nn.Linear, 16, 64, bias=False)
    with pytest.raises(UnknownNameError, match=r"writes the model's width 16; transformer\.h\.0\.mlp\.w2\.weight of"):
        rules_of(model)
    declared = rules_of(model, roles={"transformer.h.*.mlp.w2.weight": "hidden"})
    assert {r.absorbed for r in declared if ".mlp.w2." in r.tensor.name} == {1.0}


def test_a_branch_whose_end_the_names_hide() -> None:
    """An FFN of two matrices that are both named like first ones: silently, its branch would keep no multiplier."""
    model = on_meta(NanoGPT)
    for block in model.transformer["h"]:
        block.mlp.fc1, block.mlp.fc = block.mlp.c_fc, block.mlp.c_proj
        del block.mlp.c_fc, block.mlp.c_proj
    with pytest.raises(ForescaleError, match=r"names show none in transformer\.h\.0\.mlp"):
        rules_of(model)
    assert rules_of(model, "mup")  # the width alone needs no ends
    made = rules_of(model, roles={"transformer.h.*.mlp.fc.weight": "residual_output"})
    assert {r.absorbed for r in made if ".mlp.fc." in r.tensor.name} == {0.5}


def test_bert_calls_its_first_matrix_what_others_call_the_last() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.ModuleDict({"output": nn.ModuleDict({"dense": nn.Linear(16, 16)})})
            self.intermediate, self.output = (nn.ModuleDict({"dense": nn.Linear(16, 16)}) for _ in range(2))

    model = on_meta(NanoGPT)
    model.layer = nn.ModuleList([on_meta(Layer), on_meta(Layer)])
    roles = {t.name: (t.role, t.carries) for t in parametrization("mup", base=BASE).tensors(model)}
    assert roles["layer.0.intermediate.dense.weight"] == ("hidden", "")
    assert roles["layer.0.intermediate.dense.bias"] == ("bias", "")
    assert roles["layer.0.output.dense.weight"] == ("residual_output", "residual")
    assert roles["layer.0.attention.output.dense.bias"] == ("bias", "residual")


def test_a_gate_without_experts_is_no_router() -> None:
    model = on_meta(Titan)
    for block in model.layers.values():
        block.feed_forward.gate = block.feed_forward.w1
        del block.feed_forward.w1
    with pytest.raises(UnknownNameError, match=r"layers\.\*\.feed_forward\.gate\.weight"):
        rules_of(model)
    assert rules_of(model, roles={"*.feed_forward.gate.weight": "hidden"})


def test_a_norm_after_something_is_asked_for() -> None:
    model = on_meta(Titan)
    model.layers["0"].attention.norm_post = on_meta(nn.RMSNorm, 16)
    with pytest.raises(UnknownNameError, match=r"layers\.\*\.attention\.norm_post"):
        rules_of(model)


def test_a_block_that_normalises_one_branch_only() -> None:
    model = on_meta(Titan)
    for block in model.layers.values():
        block.post_ffn_norm = on_meta(nn.RMSNorm, 16)
    with pytest.raises(ForescaleError, match=r"layers\.0 has layers\.0\.post_ffn_norm\.weight alone"):
        rules_of(model)


def test_a_shared_block_is_refused() -> None:
    model = on_meta(NanoGPT)
    model.transformer["h"][1] = model.transformer["h"][0]
    with pytest.raises(ForescaleError, match="shared by embedding and unembedding only"):
        rules_of(model)


def test_two_shared_matrices_are_refused() -> None:
    model = on_meta(Titan)
    model.layers["1"].attention.wq.weight = model.layers["0"].attention.wq.weight
    with pytest.raises(
        ForescaleError, match=r"layers\.0\.attention\.wq\.weight and layers\.1\.attention\.wq\.weight are one"
    ):
        rules_of(model)


def test_a_model_without_residual_branches() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(31, 16)
            self.layers = nn.ModuleList(nn.ModuleDict({"fc1": nn.Linear(16, 16)}) for _ in range(2))
            self.head = nn.Linear(16, 31)

    with pytest.raises(ForescaleError, match="completep scales residual branches, and none was found"):
        rules_of(on_meta(Plain))
    assert {r.tensor.name: r.absorbed for r in rules_of(on_meta(Plain), "mup")}["head.weight"] == pytest.approx(12 / 16)
    at_base = parametrization("completep", base=Shape(width=16, depth=2)).rules(on_meta(Plain))
    assert {r.absorbed for r in at_base} == {1.0}  # nothing is scaled


def test_a_backbone_has_no_logits() -> None:
    model = hugging_face("Llama").model
    with pytest.raises(ForescaleError, match="LlamaModel has none: pass the model with its head"):
        rules_of(model)


def test_a_tied_model_needs_a_final_norm_with_a_gain() -> None:
    model = on_meta(NanoGPT, tied=True)
    model.transformer["ln_f"] = nn.LayerNorm(16, elementwise_affine=False)
    with pytest.raises(ForescaleError, match="norms with a gain outside the blocks: none"):
        rules_of(model)


def test_frozen_parameters_are_in_no_group_and_keep_their_values() -> None:
    model = NanoGPT()
    model.transformer["wte"].weight.requires_grad_(False)
    before = model.transformer["wte"].weight.clone()
    rules = parametrization("completep", base=BASE)
    names = [n for group in rules.param_groups(model, {"learning_rate": 1e-2}) for n in group["param_names"]]
    assert "transformer.wte.weight" not in names
    assert len(names) == len(list(model.parameters())) - 1
    rules.initialize_(model, 0)
    assert torch.equal(model.transformer["wte"].weight, before)
    assert "frozen: in no group" in str(rules.table(model))


def test_a_frozen_tensor_cannot_take_over_a_multiplier() -> None:
    model = on_meta(NanoGPT)
    model.lm_head.weight.requires_grad_(False)
    with pytest.raises(
        ForescaleError, match=r"lm_head\.weight should take over the logits multiplier 0\.75, and it is frozen"
    ):
        rules_of(model)
    assert parametrization("standard", base=BASE).rules(model)


def test_meta_parameters_have_rules_but_no_values() -> None:
    model = on_meta(NanoGPT)
    rules = parametrization("completep", base=BASE)
    assert rules.param_groups(model, {"learning_rate": 1e-2})[0]["params"][0].is_meta
    with pytest.raises(ForescaleError, match=r"to_empty\(device=\.\.\.\)"):
        rules.initialize_(model, 0)
    model.to_empty(device="cpu")
    rules.initialize_(model, 0)
    assert model.lm_head.weight.isfinite().all()


def test_the_depth_is_what_the_configuration_says() -> None:
    """Numbers in names may count other modules, and a part of a model has too few."""
    model = on_meta(NanoGPT, layers=2)
    model.mtp = nn.ModuleList([on_meta(NanoGPT, layers=1).transformer["h"][0]])
    assert {r.absorbed for r in rules_of(model) if r.tensor.carries == "residual"} == {0.5}
    model.config.n_layer = 4
    with pytest.raises(ForescaleError, match="show 3 and the configuration says 4"):
        rules_of(model)


# --- Head size
HEADS = Shape(width=24, depth=1, heads=4)  # heads of 6; the models below have 12
WANTED = 6**0.5 / 12


@pytest.mark.parametrize("scheme", ["mup", "completep", "everett"])
@pytest.mark.parametrize(
    "make", [lambda: hugging_face("Llama"), lambda: on_meta(NanoGPT, 24), lambda: on_meta(Titan, 24)]
)
def test_another_head_size_is_refused_and_says_what_to_set(make: Any, scheme: str) -> None:
    with pytest.raises(ForescaleError, match=f"= {WANTED:.6g} here, as the head size is 12 and the base's 6"):
        parametrization(scheme, base=HEADS).rules(make())
    assert parametrization(scheme, base=HEADS, attention_scaled=True).rules(make())
    assert parametrization("standard", base=HEADS).rules(make())
    assert parametrization(scheme, base=Shape(width=24, depth=1, head_dim=12)).rules(make())


def test_hugging_faces_scale_is_read_from_every_module() -> None:
    model = hugging_face("Llama")
    rules = parametrization("completep", base=HEADS)
    model.model.layers[0].self_attn.scaling = WANTED
    with pytest.raises(ForescaleError, match="needs attention scaled"):
        rules.rules(model)  # the second block still has its own
    model.model.layers[1].self_attn.scaling = WANTED
    assert rules.rules(model)


def test_our_models_scale_is_read() -> None:
    shape = Shape(width=24, layers=1, heads=2, vocab=31)
    rules = parametrization("completep", base=HEADS)
    with pytest.raises(ForescaleError, match="needs attention scaled"):
        rules.rules(ours(shape))
    assert rules.rules(ours(shape, attention_scale=WANTED))


def test_a_head_size_that_nothing_states() -> None:
    model = on_meta(NanoGPT, 24)
    del model.config.n_head
    for block in model.transformer["h"]:
        del block.attn.n_head
    with pytest.raises(ForescaleError, match="nothing in the model states it"):
        parametrization("mup", base=HEADS).rules(model)
    assert parametrization("mup", base=BASE).rules(model)  # a base without heads is taken to have the model's


# --- Multipliers that a model has itself
def test_a_model_with_both_multipliers_leaves_nothing_to_absorb() -> None:
    model = hugging_face(
        "Granite",
        layers=3,
        tie_word_embeddings=False,
        logits_scaling=2.0,
        residual_multiplier=3**-0.75,
        attention_multiplier=0.3,
    )
    rules = parametrization("completep", base=BASE, alpha=0.75)
    assert {r.absorbed for r in rules.rules(model)} == {1.0}
    assert "the forward's own multipliers: residual 0.4387, logits 0.5" in str(rules.table(model))


def test_multipliers_of_the_base_are_not_undone() -> None:
    """A proxy that was tuned with residual_multiplier 0.22 and logits_scaling 4 keeps both beside the scheme's."""
    model = hugging_face("Granite", layers=3, tie_word_embeddings=False, logits_scaling=4.0, residual_multiplier=0.22)
    own = {"residual": 0.22, "logits": 1 / 4}
    made = parametrization("completep", base=BASE, base_multipliers=own).rules(model)
    assert {r.absorbed for r in made if r.tensor.carries} == {1 / 3, 1 / 2}


def test_a_scheme_that_leaves_the_depth_alone_leaves_the_models_residual_multiplier() -> None:
    model = hugging_face("Granite", tie_word_embeddings=False, residual_multiplier=0.22)
    for scheme in ("standard", "mup"):
        made = parametrization(scheme, base=BASE).rules(model)
        assert {r.absorbed for r in made if r.tensor.carries == "residual"} == {1.0}
