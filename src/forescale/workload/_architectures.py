"""How each known `model_type` of a Hugging Face `config.json` maps to a `Shape`.

Defaults and parameter layouts are those of transformers 5.23, since files leave out the keys that equal them.
"""

from __future__ import annotations

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
        names = [name for name in (key, self.architecture.aliases.get(key)) if name in self.values]
        if len(names) == 2 and self.values[names[0]] != self.values[names[1]]:
            raise ForescaleError(f"{names[0]} and {names[1]} name the same size but differ: remove one of them.")
        return (names[0], self.values[names[0]]) if names else (key, self.architecture.defaults[key])

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
            raise ForescaleError(f"{name} must be true or false; got {value!r}: correct it.")
        return value

    def indices(self, key: str) -> set[int]:
        """A set of layer numbers from 0; null is the empty one."""
        name, value = self._find(key)
        if not isinstance(value, list | None) or not all(type(i) is int for i in cast("list[object]", value or [])):
            raise ForescaleError(f"{name} must be a list of layer numbers; got {value!r}: correct it.")
        return set(cast("list[int]", value or []))


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


def _architecture(
    build: Callable[[Keys], Shape],
    sizes: tuple[int, int, int, int, int, int | None],
    length: int,
    aliases: Mapping[str, str] | None = None,
    **more: object,
) -> Architecture:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    defaults = dict(zip((*names, "num_key_value_heads"), sizes, strict=True))
    defaults |= {"max_position_embeddings": length}
    return Architecture(
        build=build, defaults={**defaults, "tie_word_embeddings": False, **more}, aliases=aliases or {}
    )
