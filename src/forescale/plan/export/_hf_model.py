"""A plan's model as keys of a transformers 5.23.0 config, and the architecture that has the parameters of its shape."""

from __future__ import annotations

from collections.abc import Mapping

from forescale.plan.export._render import Item
from forescale.plan.export._shape import PLAIN, WHERE, dense, model_notes, sizes
from forescale.plan.export._values import Note, Numbers
from forescale.workload import Shape

NAMES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "vocab": "vocab_size",
}
FFN = {"ffn_width": "intermediate_size"}
_BIASED = ("qkv_bias", "o_bias")  # both by attention_bias, where the architecture has that key

# What tells the architectures apart; the first that fits is taken. Of several with the same parameters, the plainest.
ARCHITECTURES: Mapping[str, Mapping[str, object]] = {
    "llama": PLAIN,
    "qwen2": {**PLAIN, "qkv_bias": True},
    "qwen3": {**PLAIN, "qk_norm": "head"},
    "olmo2": {**PLAIN, "qk_norm": "full"},
    "gemma2": {**PLAIN, "norms_per_layer": 4},
    "gemma3_text": {**PLAIN, "norms_per_layer": 4, "qk_norm": "head"},
}


def model_type(n: Numbers) -> str | None:
    """The architecture of a shape; None without a shape, or if no architecture known here has its parameters."""
    shape = n.workload.shape
    if shape is None:
        return None
    if shape.experts is not None:
        return "mixtral" if _is_mixtral(shape) else None
    return next((name for name, own in ARCHITECTURES.items() if _fits(shape, name, own)), None)


def _fits(shape: Shape, name: str, own: Mapping[str, object]) -> bool:
    free: set[str] = set()  # properties that have a key
    if name != "qwen2" and shape.qkv_bias == shape.o_bias:
        free |= set(_BIASED)
    if name == "llama":
        free.add("ffn_bias")
    return all(getattr(shape, key) == value for key, value in own.items() if key not in free)


def _is_mixtral(shape: Shape) -> bool:
    e = shape.experts
    plain = all(getattr(shape, key) == value for key, value in PLAIN.items() if key != "experts")
    return plain and e is not None and not (e.shared_width or e.dense_layers or e.bias or e.router_bias)


def model_config(n: Numbers) -> dict[str, Item]:
    """What to pass to a config class."""
    known = {"initializer_range": n.init_std, "max_position_embeddings": n.seq_len}
    shape, name = n.workload.shape, model_type(n)
    if shape is None or (dense(n) is None and name is None):
        return known
    known |= sizes(shape, NAMES) | {"tie_word_embeddings": Item(shape.tied, WHERE)}
    if shape.experts is not None:
        return known | {
            "intermediate_size": Item(shape.experts.width, "workload shape: width of an expert"),
            "num_local_experts": Item(shape.experts.count, WHERE),
            "num_experts_per_tok": Item(shape.experts.top_k, WHERE),
        }
    known |= sizes(shape, FFN)
    if name not in (None, "qwen2"):
        known["attention_bias"] = Item(shape.qkv_bias, WHERE)
    return known | ({"mlp_bias": Item(shape.ffn_bias, WHERE)} if name == "llama" else {})


def model_remarks(n: Numbers) -> tuple[Note, ...]:
    """Nothing is lost with an architecture; without one, its structure is."""
    if model_type(n) is not None:
        return model_notes(n, {*NAMES, *FFN, "tied", *PLAIN}, {}, "")
    where = "transformers has no architecture of these parameters among those known here: your config class decides"
    return model_notes(n, () if dense(n) is None else {*NAMES, *FFN, "tied"}, {}, where)
