"""Every architecture against the model that transformers builds from the same file on the meta device."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from forescale.workload import Workload
from forescale.workload._architectures import ARCHITECTURES
from forescale.workload._config import Config, read_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "llama-3-8b"

# (model, its total, its file): totals are those of the published weights, files leave out what is the default.
PUBLISHED: list[tuple[str, int, dict[str, Any]]] = [
    ("Llama-3-8B", 8_030_261_248, {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192}),
    ("Llama-3.2-1B", 1_235_814_400, {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True}),
    ("Mistral-7B", 7_241_732_096, {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000}),
    ("Mistral-Nemo-12B", 12_247_782_400, {
        "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 14336, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072}),
    ("Qwen2-7B", 7_615_616_512, {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064}),
    ("Qwen2-0.5B", 494_032_768, {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}),
    ("Qwen3-8B", 8_190_735_360, {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}),
    ("Gemma-2-9B", 9_241_705_984, {
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000}),
    ("Gemma-3-4B text", 3_880_263_168, {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}),
    ("GPT-2", 124_439_808, {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}),
    ("GPT-2 XL", 1_557_611_200, {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25}),
    ("Pythia-1.4B", 1_414_647_808, {
        "model_type": "gpt_neox", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
        "num_attention_heads": 16, "vocab_size": 50304}),
    ("OLMo-2-7B", 7_298_617_344, {
        "model_type": "olmo2", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 100352}),
    ("Phi-3-mini", 3_821_079_552, {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064}),
    ("Mixtral-8x7B", 46_702_792_704, {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2}),
    ("Qwen3-30B-A3B", 30_532_122_624, {
        "model_type": "qwen3_moe", "hidden_size": 2048, "moe_intermediate_size": 768, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
        "mlp_only_layers": []}),
    # 14,848 below the weight file: transformers keeps the router's correction bias (58 layers of 256) as a buffer.
    ("DeepSeek-V3", 671_026_419_200 - 58 * 256, {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61,
        "num_nextn_predict_layers": 1, "max_position_embeddings": 163840}),
    ("gpt-oss-20b", 20_914_757_184, {"model_type": "gpt_oss", "num_hidden_layers": 24, "num_local_experts": 32}),
]  # fmt: skip

_TINY = {"hidden_size": 48, "intermediate_size": 20, "num_hidden_layers": 5, "vocab_size": 77}
_TINY_PHI3 = {**_TINY, "model_type": "phi3", "pad_token_id": 0, "eos_token_id": 0}  # within the vocabulary
_TINY_DEEPSEEK = {**_TINY, "model_type": "deepseek_v3", "num_attention_heads": 4, "num_key_value_heads": 4,
                  "moe_intermediate_size": 12, "n_routed_experts": 8, "n_group": 2, "topk_group": 1,
                  "num_experts_per_tok": 3, "kv_lora_rank": 14, "qk_rope_head_dim": 6, "qk_nope_head_dim": 10,
                  "v_head_dim": 9}  # fmt: skip
_TINY_QWEN3_MOE = {**_TINY, "model_type": "qwen3_moe", "num_attention_heads": 4, "num_key_value_heads": 2,
                   "moe_intermediate_size": 12, "num_experts": 6, "num_experts_per_tok": 2}  # fmt: skip

ODD: dict[str, dict[str, Any]] = {
    "llama-biased": {**_TINY, "model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10,
                     "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama-no-kv": {**_TINY, "model_type": "llama", "num_attention_heads": 6},
    "llama-nulls": {**_TINY, "model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": None,
                    "head_dim": None},
    "mistral-tied": {**_TINY, "model_type": "mistral", "num_attention_heads": 8, "head_dim": 4,
                     "tie_word_embeddings": True},
    "qwen2-null-kv": {**_TINY, "model_type": "qwen2", "num_attention_heads": 6, "num_key_value_heads": None},
    "qwen2-head-dim": {**_TINY, "model_type": "qwen2", "num_attention_heads": 6, "num_key_value_heads": 3,
                       "head_dim": 10},
    "qwen3-biased": {**_TINY, "model_type": "qwen3", "num_attention_heads": 4, "num_key_value_heads": 1,
                     "head_dim": 14, "attention_bias": True, "tie_word_embeddings": True},
    "gemma2-untied": {**_TINY, "model_type": "gemma2", "num_attention_heads": 4, "num_key_value_heads": 2,
                      "head_dim": 20, "attention_bias": True, "tie_word_embeddings": False},
    "gemma3-untied": {**_TINY, "model_type": "gemma3_text", "num_attention_heads": 4, "num_key_value_heads": 1,
                      "head_dim": 20, "attention_bias": True, "tie_word_embeddings": False},
    "gpt2-inner": {"model_type": "gpt2", "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 33, "vocab_size": 77,
                   "n_inner": 50, "tie_word_embeddings": False, "head_dim": 5},
    "gpt2-standard-names": {"model_type": "gpt2", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
                            "max_position_embeddings": 33, "vocab_size": 77},
    "gpt_neox-unbiased": {**_TINY, "model_type": "gpt_neox", "num_attention_heads": 4, "attention_bias": False,
                          "tie_word_embeddings": True, "num_key_value_heads": 1},
    "olmo2-grouped": {**_TINY, "model_type": "olmo2", "num_attention_heads": 6, "num_key_value_heads": 2,
                      "head_dim": 10, "attention_bias": True, "tie_word_embeddings": True},
    "phi3-grouped": {**_TINY_PHI3, "num_attention_heads": 6, "num_key_value_heads": 2,
                     "tie_word_embeddings": True},
    "phi3-head-dim": {**_TINY_PHI3, "num_attention_heads": 6, "head_dim": 10},
    "mixtral-tied": {**_TINY, "model_type": "mixtral", "num_attention_heads": 8, "head_dim": 10,
                     "num_key_value_heads": 4, "num_experts": 5, "num_experts_per_tok": 3,
                     "tie_word_embeddings": True},
    "qwen3_moe-mixed": {**_TINY_QWEN3_MOE, "decoder_sparse_step": 2, "mlp_only_layers": [0, 3, 3, 99],
                        "attention_bias": True, "tie_word_embeddings": True},
    "qwen3_moe-dense": {**_TINY_QWEN3_MOE, "mlp_only_layers": [0, 1, 2, 3, 4]},
    "qwen3_moe-no-experts": {**_TINY_QWEN3_MOE, "num_experts": 0},
    "deepseek_v3-biased": {**_TINY_DEEPSEEK, "q_lora_rank": 16, "attention_bias": True, "first_k_dense_replace": 2,
                           "n_shared_experts": 2, "tie_word_embeddings": True},
    "deepseek_v3-full-queries": {**_TINY_DEEPSEEK, "q_lora_rank": None, "attention_bias": True,
                                 "first_k_dense_replace": 0},
    "deepseek_v3-dense": {**_TINY_DEEPSEEK, "q_lora_rank": 16, "first_k_dense_replace": 9},
    "gpt_oss-unbiased": {**_TINY, "model_type": "gpt_oss", "num_attention_heads": 4, "num_key_value_heads": 2,
                         "head_dim": 10, "attention_bias": False, "num_local_experts": 6, "num_experts_per_tok": 5,
                         "tie_word_embeddings": True},
}  # fmt: skip

# The first pattern that fits a tensor's name decides its part.
_PARTS = (
    (r"embed_tokens|wte|embed_in", "embedding"),
    (r"wpe", "positions"),
    (r"lm_head", "head"),
    (r"norm|\.ln_", "norms"),
    (r"shared_experts", "shared experts"),
    (r"\.experts\.", "experts"),
    (r"\.gate\.|\.router\.", "router"),
    (r"attn|attention", "attention"),
    (r"mlp", "ffn"),
)
_VOCABULARY = {"embedding", "positions", "head"}


def transformers_config(values: dict[str, Any]) -> PreTrainedConfig:
    return AutoConfig.for_model(**values)


def transformers_counts(config: PreTrainedConfig) -> Counter[str]:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counts: Counter[str] = Counter()
    for name, tensor in model.named_parameters():
        counts[next(part for pattern, part in _PARTS if re.search(pattern, name))] += tensor.numel()
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())
    return counts


def read(folder: Path, values: dict[str, Any]) -> Config:
    (folder / "config.json").write_text(json.dumps(values))
    return read_config(folder)


def our_counts(config: Config) -> dict[str, int]:
    return {part.name: part.params for part in config.shape.parts()}


def check(config: Config, hf: PreTrainedConfig) -> None:
    """Total, every part, vocabulary and active parameters are those of the model that transformers builds."""
    expected = transformers_counts(hf)
    assert our_counts(config) == {part: count for part, count in expected.items() if count}
    parts = config.shape.parts()
    assert {p.name for p in parts if p.vocabulary} == _VOCABULARY & expected.keys()
    unused = 0
    if expected["experts"]:
        experts = getattr(hf, "num_local_experts", None) or hf.n_routed_experts
        unused = expected["experts"] // experts * (experts - hf.num_experts_per_tok)
    assert sum(p.active_params for p in parts) == sum(expected.values()) - unused
    assert config.max_seq_len == hf.max_position_embeddings
    assert config.architecture == hf.model_type


@pytest.mark.parametrize(("total", "values"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED])
def test_published_models(total: int, values: dict[str, Any], tmp_path: Path) -> None:
    config = read(tmp_path, values)
    assert sum(our_counts(config).values()) == total
    check(config, transformers_config(values))


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_odd_variants(values: dict[str, Any], tmp_path: Path) -> None:
    check(read(tmp_path, values), transformers_config(values))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_bare_file_takes_every_default_of_transformers(model_type: str, tmp_path: Path) -> None:
    check(read(tmp_path, {"model_type": model_type}), transformers_config({"model_type": model_type}))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_default_is_that_of_transformers(model_type: str) -> None:
    hf = transformers_config({"model_type": model_type})
    for key, default in ARCHITECTURES[model_type].defaults.items():
        # head_dim and num_key_value_heads are derived there when not given; the counts above cover them.
        assert default is None or getattr(hf, key) == default, key


@pytest.mark.parametrize("diff", [True, False], ids=["default keys left out", "all keys"])
@pytest.mark.parametrize("values", [*ODD.values(), *(p[2] for p in PUBLISHED)], ids=[*ODD, *(p[0] for p in PUBLISHED)])
def test_files_written_by_transformers(values: dict[str, Any], diff: bool, tmp_path: Path) -> None:
    expected = read(tmp_path, values).shape.parts()
    written = tmp_path / "written.json"
    transformers_config(values).to_json_file(written, use_diff=diff)
    assert read_config(written).shape.parts() == expected


def test_every_architecture_is_tested() -> None:
    for cases in ([p[2] for p in PUBLISHED], list(ODD.values())):
        assert {values["model_type"] for values in cases} == set(ARCHITECTURES)


@settings(max_examples=40, deadline=None)
@given(
    kv=st.integers(1, 4), group=st.integers(1, 4), layers=st.integers(1, 3), head_dim=st.integers(1, 8),
    factor=st.integers(1, 4), ffn=st.integers(1, 99), vocab=st.integers(1, 99),
    attention_bias=st.booleans(), mlp_bias=st.booleans(), tied=st.booleans(),
)  # fmt: skip
def test_random_llamas(
    kv: int, group: int, layers: int, head_dim: int, factor: int, ffn: int, vocab: int,
    attention_bias: bool, mlp_bias: bool, tied: bool, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    values = {
        "model_type": "llama", "num_hidden_layers": layers, "num_attention_heads": kv * group,
        "num_key_value_heads": kv, "hidden_size": kv * group * factor, "head_dim": 2 * head_dim,
        "intermediate_size": ffn, "vocab_size": vocab, "attention_bias": attention_bias, "mlp_bias": mlp_bias,
        "tie_word_embeddings": tied, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    check(read(tmp_path_factory.mktemp("llama"), values), transformers_config(values))


@pytest.mark.parametrize("tied", [True, False, None])
def test_gemma3_describes_the_text_model_of_a_multimodal_file(tied: bool | None, tmp_path: Path) -> None:
    text = {**_TINY, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 20, "model_type": "gemma3_text"}
    vision = {"hidden_size": 8, "intermediate_size": 9, "num_hidden_layers": 1, "num_attention_heads": 2}
    values = {"model_type": "gemma3", "text_config": text, "vision_config": vision}
    if tied is not None:
        values["tie_word_embeddings"] = tied
    config = read(tmp_path, values)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(transformers_config(values))
    params = [(n, p.numel()) for n, p in model.named_parameters() if not re.search("vision|multi_modal", n)]
    assert len(params) < len(list(model.parameters()))
    assert sum(our_counts(config).values()) == sum(count for _, count in params)
    assert ("head" in our_counts(config)) == (tied is False)
    assert config.architecture == "gemma3, text model only"


def test_gemma3_4b_file_as_published(tmp_path: Path) -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    config = read(tmp_path, {"model_type": "gemma3", "text_config": text, "vision_config": {}})
    assert sum(our_counts(config).values()) == 3_880_263_168
    assert config.max_seq_len == 131_072
    assert read(tmp_path, {"model_type": "gemma3"}).shape == read(tmp_path, {"model_type": "gemma3_text"}).shape


def test_example_is_llama_3_8b_by_file_and_by_folder() -> None:
    config = read_config(EXAMPLE)
    assert config == read_config(str(EXAMPLE / "config.json"))
    assert sum(our_counts(config).values()) == 8_030_261_248
    assert (config.architecture, config.max_seq_len) == ("llama", 8192)


def test_workload_from_config() -> None:
    workload = Workload.from_config(EXAMPLE, tokens=15e12)
    assert (workload.params, workload.seq_len) == (8_030_261_248 - 2 * 128256 * 4096, 8192)
    assert workload.head_params == 128256 * 4096
    assert Workload.from_config(EXAMPLE, tokens=15e12, seq_len=64).seq_len == 64


def test_no_stated_length_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"model_type": "llama", "max_position_embeddings": None}).max_seq_len is None


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bom.json"
    file.write_bytes(b'\xef\xbb\xbf{"model_type": "gpt2"}')
    assert read_config(file).architecture == "gpt2"


def test_an_absurd_layer_list_is_quick(tmp_path: Path) -> None:
    values = {"model_type": "qwen3_moe", "num_hidden_layers": 10**9, "decoder_sparse_step": 3, "mlp_only_layers": [2]}
    experts = read(tmp_path, values).shape.experts
    assert experts is not None
    assert experts.dense_layers == 10**9 - 10**9 // 3 + 1
