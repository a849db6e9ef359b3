"""Hugging Face's models give the same logits for the same weights: Llama, Qwen3, GPT-2, MPT, Mixtral, OLMoE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from forescale.train import ModelOptions, build_model
from forescale.workload import Experts, Shape

VOCAB, WIDTH, HIDDEN, LENGTH, LAYERS = 61, 32, 48, 24, 2
CONFIG: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": LENGTH, "rope_theta": 500.0,
    "rms_norm_eps": 1e-5, "attn_implementation": "eager", "experts_implementation": "eager", "use_cache": False,
    "pad_token_id": None,
}  # fmt: skip
LLAMA = Shape(layers=LAYERS, width=WIDTH, heads=4, kv_heads=2, vocab=VOCAB, ffn_width=HIDDEN)
PLAIN = Shape(
    layers=LAYERS, width=WIDTH, heads=4, vocab=VOCAB, ffn_width=4 * WIDTH, norm="layer", gated=False, tied=True
)
ROTARY = ModelOptions(rope_base=500.0)
Weights = dict[str, Tensor]


def with_random_weights(model: Any) -> Any:
    """Fill every parameter, norms and biases too, with numbers large enough to tell wrong wiring from right."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.dim() == 1))
    return model.double().eval()


def difference(theirs: nn.Module, weights: Weights, shape: Shape, options: ModelOptions) -> float:
    """The largest difference of logits, relative to their spread; both models compute in float64 where they can."""
    model = build_model(shape, options, seq_len=LENGTH).double()
    model.load_state_dict(weights)
    tokens = torch.randint(VOCAB, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 0.5
        return float((model(tokens) - expected).abs().max() / expected.std())


def layers(theirs: Weights) -> list[tuple[str, Weights]]:
    """For each layer the start of our names and the weights under their own names in it."""
    return [
        (f"blocks.{i}.", {name.split(f".{i}.", 1)[1]: w for name, w in theirs.items() if f".{i}." in name})
        for i in range(LAYERS)
    ]


def attention_and_norms(theirs: Weights, *, qk_norm: bool = False) -> Weights:
    """What Llama and its relatives share."""
    ours = {
        "embedding.weight": theirs["model.embed_tokens.weight"],
        "norm.weight": theirs["model.norm.weight"],
        "head.weight": theirs["lm_head.weight"],
    }
    for block, w in layers(theirs):
        ours[f"{block}attention_norm.weight"] = w["input_layernorm.weight"]
        ours[f"{block}ffn_norm.weight"] = w["post_attention_layernorm.weight"]
        ours[f"{block}attention.qkv.weight"] = torch.cat([w[f"self_attn.{x}_proj.weight"] for x in "qkv"])
        ours[f"{block}attention.output.weight"] = w["self_attn.o_proj.weight"]
        for x in "qk" if qk_norm else "":
            ours[f"{block}attention.{x}_norm.weight"] = w[f"self_attn.{x}_norm.weight"]
    return ours


def swiglu(theirs: Weights) -> Weights:
    ours: Weights = {}
    for block, w in layers(theirs):
        ours[f"{block}ffn.input.weight"] = torch.cat((w["mlp.gate_proj.weight"], w["mlp.up_proj.weight"]))
        ours[f"{block}ffn.output.weight"] = w["mlp.down_proj.weight"]
    return ours


def experts(theirs: Weights) -> Weights:
    ours: Weights = {}
    for block, w in layers(theirs):
        ours[f"{block}ffn.router.weight"] = w["mlp.gate.weight"]
        ours[f"{block}ffn.experts.input"] = w["mlp.experts.gate_up_proj"]
        ours[f"{block}ffn.experts.output"] = w["mlp.experts.down_proj"]
    return ours


# These round norms, rotary tables and the router to float32 inside, whatever the model's dtype.
def test_llama() -> None:
    theirs = with_random_weights(transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)))
    w = theirs.state_dict()
    assert difference(theirs, attention_and_norms(w) | swiglu(w), LLAMA, ROTARY) < 1e-5


@pytest.mark.parametrize("fault", [{"rope_base": 600.0}, {"norm_eps": 1e-2}, {"attention_scale": 0.3}], ids=str)
def test_a_planted_fault_is_seen(fault: dict[str, float]) -> None:
    theirs = with_random_weights(transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)))
    w = theirs.state_dict()
    assert difference(theirs, attention_and_norms(w) | swiglu(w), LLAMA, replace(ROTARY, **fault)) > 1e-3


def test_qwen3_has_norms_on_each_head() -> None:
    config = transformers.Qwen3Config(**CONFIG, head_dim=12)
    theirs = with_random_weights(transformers.Qwen3ForCausalLM(config))
    w = theirs.state_dict()
    shape = replace(LLAMA, head_dim=12, qk_norm="head")
    assert difference(theirs, attention_and_norms(w, qk_norm=True) | swiglu(w), shape, ROTARY) < 1e-5


def test_mixtral() -> None:
    config = transformers.MixtralConfig(**CONFIG, num_local_experts=5, num_experts_per_tok=2, sliding_window=None)
    theirs = with_random_weights(transformers.MixtralForCausalLM(config))
    w = theirs.state_dict()
    shape = replace(LLAMA, experts=Experts(count=5, top_k=2, width=HIDDEN))
    assert difference(theirs, attention_and_norms(w) | experts(w), shape, ROTARY) < 1e-5


def test_olmoe_has_norms_over_all_heads() -> None:
    config = transformers.OlmoeConfig(**CONFIG, num_experts=5, num_experts_per_tok=3, norm_topk_prob=True)
    theirs = with_random_weights(transformers.OlmoeForCausalLM(config))
    w = theirs.state_dict()
    shape = replace(LLAMA, qk_norm="full", experts=Experts(count=5, top_k=3, width=HIDDEN))
    assert difference(theirs, attention_and_norms(w, qk_norm=True) | experts(w), shape, ROTARY) < 1e-5


def test_gpt2() -> None:
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=4, activation_function="gelu",
        use_cache=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = with_random_weights(transformers.GPT2LMHeadModel(config))
    w = {name.removeprefix("transformer."): weight for name, weight in theirs.state_dict().items()}
    ours = {"embedding.weight": w["wte.weight"], "positions.weight": w["wpe.weight"]}
    names = {
        "attention_norm": "ln_1", "ffn_norm": "ln_2", "attention.qkv": "attn.c_attn", "attention.output": "attn.c_proj",
        "ffn.input": "mlp.c_fc", "ffn.output": "mlp.c_proj",
    }  # fmt: skip
    for end in ("weight", "bias"):
        ours[f"norm.{end}"] = w[f"ln_f.{end}"]
        for block, layer in layers(w):
            ours |= {f"{block}{a}.{end}": layer[f"{b}.{end}"].t() for a, b in names.items()}
    shape = replace(PLAIN, positions=LENGTH, qkv_bias=True, o_bias=True, ffn_bias=True)
    assert difference(theirs, ours, shape, ModelOptions(position="learned")) < 1e-10


@pytest.mark.parametrize("heads", [4, 2])
def test_mpt_has_alibi(heads: int) -> None:
    config = transformers.MptConfig(
        d_model=WIDTH, n_heads=heads, n_layers=LAYERS, max_seq_len=LENGTH, vocab_size=VOCAB, use_cache=False
    )
    theirs = with_random_weights(transformers.MptForCausalLM(config))
    w = {name.removeprefix("transformer."): weight for name, weight in theirs.state_dict().items()}
    ours = {"embedding.weight": w["wte.weight"], "norm.weight": w["norm_f.weight"], "norm.bias": torch.zeros(WIDTH)}
    names = {
        "attention_norm": "norm_1", "ffn_norm": "norm_2", "attention.qkv": "attn.Wqkv",
        "attention.output": "attn.out_proj", "ffn.input": "ffn.up_proj", "ffn.output": "ffn.down_proj",
    }  # fmt: skip
    for block, layer in layers(w):
        ours |= {f"{block}{a}.weight": layer[f"{b}.weight"] for a, b in names.items()}
        ours |= {f"{block}{a}.bias": torch.zeros(WIDTH) for a in ("attention_norm", "ffn_norm")}
    assert difference(theirs, ours, replace(PLAIN, heads=heads), ModelOptions(position="alibi")) < 1e-5
