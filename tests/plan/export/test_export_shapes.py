"""The model of a plan: each property of its shape is in the file, is the target's own, or is named in a loss."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from export_fixtures import build_plan, load_python, shell_flags

from forescale.errors import ForescaleError
from forescale.plan.export import TARGETS, Export, export
from forescale.workload import Experts, LatentAttention, Shape
from forescale.workload._config import read_config

EXAMPLE = Path(__file__).parents[3] / "examples" / "llama-3-8b" / "config.json"
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma2": {"model_type": "gemma2"},
    "olmo2": {"model_type": "olmo2", "hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16},
    "mixtral": {"model_type": "mixtral"},
}
WRITERS = ("megatron-lm", "megatron-bridge", "huggingface", "levanter", "nanotron", "lingua")
LEFT_TO_YOU = ("torchtitan", "torchtitan-main", "litgpt", "olmo-core", "nanochat")
WHOLE = {
    "gemma2": ("26 layers", "width 2304", "8 heads", "a vocabulary of 256000", "an output matrix tied", "4 norms"),
    "olmo2": (
        "32 layers",
        "16 heads",
        "FFN width 8192",
        "a separate output matrix",
        "over all heads at once",
        "RMSNorm",
    ),
    "mixtral": ("32 layers", "8 key-value heads", "a gated FFN", "8 experts of width 14336 with 2 a token"),
    "llama": ("32 layers", "width 4096", "FFN width 14336", "a vocabulary of 128256", "a gated FFN", "2 norms a layer"),
}
# What a target that writes the model cannot say of it; the rest it gets.
MISSING: dict[str, dict[str, tuple[str, ...]]] = {
    "llama": {"levanter": ("a vocabulary of 128256",)},
    "gemma2": {
        "megatron-lm": ("4 norms a layer",),
        "megatron-bridge": ("4 norms a layer",),
        "levanter": ("a vocabulary of 256000",),
        "nanotron": ("4 norms a layer", "heads of size 256"),
        "lingua": ("4 norms a layer",),
    },
    "olmo2": {
        target: ("norms of queries and keys over all heads at once",) for target in WRITERS if target != "huggingface"
    }
    | {"levanter": ("a vocabulary of 50304", "norms of queries and keys over all heads at once")},
    "mixtral": {target: WHOLE["mixtral"] for target in WRITERS if target != "huggingface"},
}


def shape_of(name: str, folder: Path) -> Shape:
    if name == "llama":
        return read_config(EXAMPLE).shape
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIGS[name]))
    return read_config(path).shape


def exported(shape: Shape, target: str) -> Export:
    return export(build_plan(schedule="cosine", final_lr_ratio=0.1, shape=shape), target)


def model_losses(result: Export) -> str:
    return " ".join(m for m in result.losses if m.startswith("the model is"))


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("target", WRITERS)
def test_what_a_target_that_writes_the_model_leaves_out_is_named(name: str, target: str, tmp_path: Path) -> None:
    result = exported(shape_of(name, tmp_path), target)
    found = model_losses(result)
    wanted = MISSING[name].get(target, ())
    assert all(words in found for words in wanted)
    assert bool(found) == bool(wanted)
    if name != "mixtral":
        named = re.findall(r"missing are (.*?);", found)
        assert ([] if not named else named[0].split(", ")) == list(wanted)


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("target", LEFT_TO_YOU)
def test_a_target_that_takes_your_model_names_the_whole_of_the_plans(name: str, target: str, tmp_path: Path) -> None:
    found = model_losses(exported(shape_of(name, tmp_path), target))
    assert "not carried" in found
    assert all(words in found for words in WHOLE[name])


@pytest.mark.parametrize("name", list(WHOLE))
@pytest.mark.parametrize("target", list(TARGETS))
def test_strict_accepts_a_model_that_arrives_whole_only(name: str, target: str, tmp_path: Path) -> None:
    plan = build_plan(schedule="cosine", final_lr_ratio=0.1, shape=shape_of(name, tmp_path))
    exact = target == "huggingface" or (target == "nanotron" and name == "llama")
    if exact:
        assert not export(plan, target, strict=True).losses
        return
    with pytest.raises(ForescaleError, match="strict"):
        export(plan, target, strict=True)


OTHER: dict[str, Any] = {
    "layers": 7,
    "width": 1040,
    "heads": 26,
    "vocab": 50021,
    "kv_heads": 1,
    "head_dim": 56,
    "ffn_width": 3001,
    "gated": False,
    "norm": "layer",
    "norms_per_layer": 3,
    "qk_norm": "full",
    "qkv_bias": True,
    "o_bias": True,
    "ffn_bias": True,
    "sinks": True,
    "positions": 8192 + 64,
    "tied": True,
    "experts": Experts(count=9, top_k=3, width=777),
    "latent": LatentAttention(kv_rank=99, nope_dim=31, rope_dim=17, v_dim=33),
}
BASE = {"layers": 4, "width": 832, "heads": 13, "vocab": 32000, "ffn_width": 2048}


def test_every_field_of_a_shape_has_another_value_here() -> None:
    assert set(OTHER) == {f.name for f in dataclasses.fields(Shape)}


def body(result: Export) -> str:
    """The file without its header, where every note is repeated."""
    return result.text.split("\n\n", 1)[1]


@pytest.mark.parametrize("name", list(OTHER))
@pytest.mark.parametrize("target", list(TARGETS))
def test_no_property_of_the_model_is_dropped_silently(target: str, name: str) -> None:
    before = exported(Shape(**BASE), target)
    options: dict[str, Any] = BASE | {name: OTHER[name]}
    if name in ("width", "heads"):
        options |= {"width": 1040, "heads": 26 if name == "heads" else 13}
        before = exported(Shape(**(BASE | {"width": 1040 if name == "heads" else 832})), target)
    after = exported(Shape(**options), target)
    assert body(after) != body(before) or model_losses(after) != model_losses(before), (target, name)


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        (
            {},
            {"swiglu", "untie-embeddings-and-output-weights", "disable-bias-linear"},
            {"add-qkv-bias", "qk-layernorm"},
        ),
        ({"qkv_bias": True}, {"disable-bias-linear", "add-qkv-bias"}, set()),
        ({"qkv_bias": True, "o_bias": True, "ffn_bias": True}, set(), {"disable-bias-linear", "add-qkv-bias"}),
        ({"gated": False, "tied": True}, set(), {"swiglu", "untie-embeddings-and-output-weights"}),
        ({"qk_norm": "head"}, {"qk-layernorm"}, set()),
    ],
)
def test_megatron_flags_of_the_structure(options: dict[str, Any], present: set[str], absent: set[str]) -> None:
    result = exported(Shape(**(BASE | options)), "megatron-lm")
    flags = shell_flags(result.text)
    assert present <= set(flags)
    assert not absent & set(flags)
    assert flags["normalization"] == "RMSNorm"
    assert flags["position-embedding-type"] == "rope"
    assert flags["padded-vocab-size"] == "32000"
    assert not model_losses(result)


def test_megatron_says_which_biases_it_cannot_have_alone() -> None:
    assert "a bias of the attention output" in model_losses(exported(Shape(**BASE, o_bias=True), "megatron-lm"))
    both = Shape(**BASE, o_bias=True, ffn_bias=True)
    assert "no biases of queries, keys and values" in model_losses(exported(both, "megatron-bridge"))


def test_megatron_learns_positions_where_the_plan_does() -> None:
    shape = Shape(**BASE, norm="layer", positions=9000)
    flags = shell_flags(exported(shape, "megatron-lm").text)
    assert (flags["position-embedding-type"], flags["max-position-embeddings"]) == ("learned_absolute", "9000")
    assert flags["normalization"] == "LayerNorm"
    assert "9000 learned positions" in model_losses(exported(shape, "megatron-bridge"))  # Bridge learns seq_len


@pytest.mark.parametrize("width", [2048, 4096, 1000, 3072])
@pytest.mark.parametrize("ffn", [None, 14336, 1, 8193, 100_003])
def test_lingua_arrives_at_the_ffn_width(width: int, ffn: int | None) -> None:
    shape = Shape(layers=2, width=width, heads=8, vocab=100, ffn_width=ffn)
    model = yaml.safe_load(exported(shape, "lingua").text)["model"]
    hidden = int(model["ffn_dim_multiplier"] * int(2 * (4 * model["dim"]) / 3))  # lingua/transformer.py, FeedForward
    multiple = model["multiple_of"]
    assert dataclasses.replace(shape, ffn_width=multiple * -(-hidden // multiple)).parts() == shape.parts()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True, "kv_heads": 1, "head_dim": 32},
        {"qkv_bias": True},
        {"qkv_bias": True, "o_bias": True, "ffn_bias": True},
        {"ffn_bias": True},
        {"qk_norm": "head", "head_dim": 32},
        {"qk_norm": "head", "qkv_bias": True, "o_bias": True},
        {"qk_norm": "full"},
        {"norms_per_layer": 4, "tied": True},
        {"norms_per_layer": 4, "qk_norm": "head", "tied": True},
        {"experts": Experts(count=4, top_k=2, width=48)},
    ],
)
def test_the_transformers_architecture_has_the_parameters_and_the_initial_std(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = {"layers": 2, "width": 64, "heads": 4, "vocab": 512, "ffn_width": 96}
    shape = Shape(**(sizes | options))
    result = exported(shape, "huggingface")
    assert not result.losses
    config = load_python(result.text).model_config(pad_token_id=None, initializer_range=0.05)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == sum(p.params for p in shape.parts())
    for name, p in model.named_parameters():
        if p.ndim > 1:
            assert torch.std(p).item() == pytest.approx(0.05, rel=0.15), name


def test_a_shape_without_a_transformers_architecture_is_a_loss() -> None:
    result = exported(Shape(**BASE, gated=False), "huggingface")
    assert "an FFN without a gate" in model_losses(result)
    module = load_python(result.text)
    assert not hasattr(module, "MODEL_TYPE")
    assert module.MODEL_CONFIG["num_hidden_layers"] == 4


def test_a_mixture_of_deepseeks_kind_is_described_in_full() -> None:
    experts = Experts(count=64, top_k=6, width=1408, shared_width=2816, dense_layers=1, bias=True, router_bias=True)
    latent = LatentAttention(kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128, q_rank=1536)
    found = model_losses(exported(Shape(**BASE, experts=experts, latent=latent), "nanotron"))
    for words in (
        "64 experts of width 1408 with 6 a token",
        "shared experts of width 2816",
        "1 layers without experts",
    ):
        assert words in found
    for words in ("biases in experts", "router biases", "key-value rank 512", "query rank 1536", "FFN width 2048"):
        assert words in found


def test_a_default_ffn_width_next_to_experts_is_that_of_the_dense_layers() -> None:
    shape = Shape(layers=4, width=768, heads=12, vocab=100, experts=Experts(count=4, top_k=1, width=64, dense_layers=2))
    assert "FFN width 2048" in model_losses(exported(shape, "lingua"))
