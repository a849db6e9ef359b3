"""How each known `model_type` of a Hugging Face `config.json` maps to a `Shape`.

Defaults and parameter layouts are those of transformers 5.23, since files leave out the keys that equal them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from forescale.errors import ForescaleError
from forescale.workload._shape import Experts, LatentAttention, Shape, check_size

# null has a meaning here in every architecture: as many as heads, and no stated limit.
_NULLABLE = ("num_key_value_heads", "max_position_embeddings")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The defaults of one `model_type`, its second names for keys, and its way to a `Shape`."""

    build: Callable[[Keys], Shape]
    defaults: Mapping[str, object]
    aliases: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of one file over the defaults of its architecture; every read is checked."""

    values: Mapping[str, object]
    architecture: Architecture

    def _find(self, key: str) -> tuple[str, object]:
        """The name that the file uses for `key`, and its value; None for a key that the architecture does not have."""
        if key not in self.architecture.defaults:
            return key, None
        alias = self.architecture.aliases.get(key, key)
        if alias != key and {key, alias} <= self.values.keys() and self.values[key] != self.values[alias]:
            raise ForescaleError(f"{key} and {alias} name the same size but differ: remove one of them.")
        name = alias if alias in self.values else key
        return name, self.values.get(name, self.architecture.defaults[key])

    def size(self, key: str, least: int = 1) -> int:
        """A whole number from `least` to 1e9."""
        name, value = self._find(key)
        return check_size(value, name, least)

    def optional(self, key: str) -> int | None:
        """A size, or None where null is what the architecture takes for its own default."""
        name, value = self._find(key)
        if value is None and (key in _NULLABLE or self.architecture.defaults.get(key) is None):
            return None
        return check_size(value, name)

    def flag(self, key: str) -> bool:
        """True or false."""
        name, value = self._find(key)
        if not isinstance(value, bool):
            raise ForescaleError(f"{name} must be true or false; got {reprlib.repr(value)}: correct it.")
        return value

    def indices(self, key: str) -> set[int]:
        """A set of layer numbers from 0; null is the empty one."""
        name, value = self._find(key)
        shown = reprlib.repr(value)
        items = cast("list[object]", value if isinstance(value, list) else [])
        layers = [item for item in items if isinstance(item, int)]
        if len(layers) < len(items) or not isinstance(value, list | None):
            raise ForescaleError(f"{name} must be a list of layer numbers; got {shown}: correct it.")
        return set(layers)


def _decoder(keys: Keys) -> Shape:
    """What all but DeepSeek-V3 share."""
    return Shape(
        layers=keys.size("num_hidden_layers"),
        width=keys.size("hidden_size"),
        heads=keys.size("num_attention_heads"),
        vocab=keys.size("vocab_size"),
        kv_heads=keys.optional("num_key_value_heads"),
        head_dim=keys.optional("head_dim"),
        ffn_width=keys.optional("intermediate_size"),
        tied=keys.flag("tie_word_embeddings"),
    )


def _biased_decoder(keys: Keys) -> Shape:
    bias = keys.flag("attention_bias")
    return replace(_decoder(keys), qkv_bias=bias, o_bias=bias)


def _llama(keys: Keys) -> Shape:
    return replace(_biased_decoder(keys), ffn_bias=keys.flag("mlp_bias"))


def _qwen2(keys: Keys) -> Shape:
    return replace(_decoder(keys), qkv_bias=True)


def _qwen3(keys: Keys) -> Shape:
    return replace(_biased_decoder(keys), qk_norm="head")


def _gemma2(keys: Keys) -> Shape:
    return replace(_biased_decoder(keys), norms_per_layer=4)


def _gemma3(keys: Keys) -> Shape:
    return replace(_gemma2(keys), qk_norm="head")


def _olmo2(keys: Keys) -> Shape:
    return replace(_biased_decoder(keys), qk_norm="full")


def _gpt_neox(keys: Keys) -> Shape:
    return replace(_biased_decoder(keys), gated=False, ffn_bias=True, norm="layer")


def _gpt2(keys: Keys) -> Shape:
    if keys.flag("add_cross_attention"):
        raise ForescaleError("add_cross_attention must be false, for only decoder-only models are counted; got true.")
    return replace(
        _decoder(keys),
        ffn_width=keys.optional("n_inner"),
        positions=keys.size("max_position_embeddings"),
        gated=False,
        norm="layer",
        qkv_bias=True,
        o_bias=True,
        ffn_bias=True,
    )


def _routed(keys: Keys, width: str = "moe_intermediate_size", count: str = "num_local_experts") -> Experts:
    return Experts(count=keys.size(count), top_k=keys.size("num_experts_per_tok"), width=keys.size(width))


def _mixtral(keys: Keys) -> Shape:
    return replace(_decoder(keys), experts=_routed(keys, "intermediate_size"))


def _qwen3_moe(keys: Keys) -> Shape:
    shape, step = _qwen3(keys), keys.size("decoder_sparse_step")
    dense = {i for i in keys.indices("mlp_only_layers") if 0 <= i < shape.layers and (i + 1) % step == 0}
    sparse = shape.layers // step - len(dense)
    if sparse == 0 or keys.size("num_local_experts", least=0) == 0:
        return shape
    return replace(shape, experts=replace(_routed(keys), dense_layers=shape.layers - sparse))


def _gpt_oss(keys: Keys) -> Shape:
    experts = replace(_routed(keys, "intermediate_size"), bias=True, router_bias=True)
    return replace(_biased_decoder(keys), sinks=True, experts=experts)


def _deepseek_v3(keys: Keys) -> Shape:
    """Without the multi-token prediction module, which transformers does not build as part of the model."""
    layers, bias = keys.size("num_hidden_layers"), keys.flag("attention_bias")
    dense = keys.size("first_k_dense_replace", least=0)
    return Shape(
        layers=layers,
        width=keys.size("hidden_size"),
        heads=keys.size("num_attention_heads"),
        vocab=keys.size("vocab_size"),
        ffn_width=keys.size("intermediate_size"),
        tied=keys.flag("tie_word_embeddings"),
        qkv_bias=bias,
        o_bias=bias,
        experts=_deepseek_experts(keys, dense) if dense < layers else None,
        latent=LatentAttention(
            kv_rank=keys.size("kv_lora_rank"),
            nope_dim=keys.size("qk_nope_head_dim"),
            rope_dim=keys.size("qk_rope_head_dim"),
            v_dim=keys.size("v_head_dim"),
            # null means full rank, while a missing key means the default.
            q_rank=None if keys.values.get("q_lora_rank", 0) is None else keys.size("q_lora_rank"),
        ),
    )


def _deepseek_experts(keys: Keys, dense_layers: int) -> Experts:
    experts = _routed(keys, count="n_routed_experts")
    shared = keys.size("n_shared_experts", least=0) * experts.width
    return replace(experts, shared_width=shared, dense_layers=dense_layers)


_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}
_EXPERTS_NAME = {"num_local_experts": "num_experts"}


def _architecture(
    build: Callable[[Keys], Shape],
    *sizes: int | None,
    aliases: Mapping[str, str] | None = None,
    tie_word_embeddings: bool = False,
    **more: object,
) -> Architecture:
    defaults = {**dict(zip(_SIZES, sizes, strict=True)), "tie_word_embeddings": tie_word_embeddings, **more}
    return Architecture(build=build, defaults=defaults, aliases=aliases or {})


# Keys not named here are not read: transformers, too, ignores head_dim in a gpt2 or gpt_neox file.
# fmt: off
ARCHITECTURES: Mapping[str, Architecture] = {
    # Sizes in the order of _SIZES: vocabulary, width, FFN, layers, heads, length.
    "llama": _architecture(
        _llama, 32000, 4096, 11008, 32, 32, 2048,
        num_key_value_heads=None, head_dim=None, attention_bias=False, mlp_bias=False),
    "mistral": _architecture(
        _decoder, 32000, 4096, 14336, 32, 32, 131072, num_key_value_heads=8, head_dim=None),
    "qwen2": _architecture(
        _qwen2, 151936, 4096, 22016, 32, 32, 32768, num_key_value_heads=32, head_dim=None),
    "qwen3": _architecture(
        _qwen3, 151936, 4096, 22016, 32, 32, 32768, num_key_value_heads=32, head_dim=128, attention_bias=False),
    "gemma2": _architecture(
        _gemma2, 256000, 2304, 9216, 26, 8, 8192, tie_word_embeddings=True,
        num_key_value_heads=4, head_dim=256, attention_bias=False),
    "gemma3_text": _architecture(
        _gemma3, 262208, 2304, 9216, 26, 8, 131072, tie_word_embeddings=True,
        num_key_value_heads=4, head_dim=256, attention_bias=False),
    "gpt2": _architecture(
        _gpt2, 50257, 768, None, 12, 12, 1024, tie_word_embeddings=True, aliases=_GPT2_NAMES,
        n_inner=None, add_cross_attention=False),
    "gpt_neox": _architecture(
        _gpt_neox, 50432, 6144, 24576, 44, 64, 2048, attention_bias=True),
    "olmo2": _architecture(
        _olmo2, 50304, 4096, 11008, 32, 32, 2048, num_key_value_heads=None, head_dim=None, attention_bias=False),
    "phi3": _architecture(
        _decoder, 32064, 3072, 8192, 32, 32, 4096, num_key_value_heads=None, head_dim=None),
    "mixtral": _architecture(
        _mixtral, 32000, 4096, 14336, 32, 32, 131072, aliases=_EXPERTS_NAME,
        num_key_value_heads=8, head_dim=None, num_local_experts=8, num_experts_per_tok=2),
    "qwen3_moe": _architecture(
        _qwen3_moe, 151936, 2048, 6144, 24, 32, 32768, aliases=_EXPERTS_NAME,
        num_key_value_heads=4, head_dim=None, attention_bias=False, moe_intermediate_size=768,
        num_local_experts=128, num_experts_per_tok=8, decoder_sparse_step=1, mlp_only_layers=None),
    "deepseek_v3": _architecture(
        _deepseek_v3, 129280, 7168, 18432, 61, 128, 4096, aliases={"n_routed_experts": "num_local_experts"},
        attention_bias=False, moe_intermediate_size=2048, n_routed_experts=256, num_experts_per_tok=8,
        n_shared_experts=1, first_k_dense_replace=3, kv_lora_rank=512, q_lora_rank=1536,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128),
    "gpt_oss": _architecture(
        _gpt_oss, 201088, 2880, 2880, 36, 64, 131072, aliases=_EXPERTS_NAME,
        num_key_value_heads=8, head_dim=64, attention_bias=True, num_local_experts=128, num_experts_per_tok=4),
}
# fmt: on
