"""What model code calls its parts: the names by which the role of a tensor is known.

Hugging Face (Llama, GPT-2, GPT-NeoX, Mistral, Qwen2/3, OLMo2, Mixtral, Qwen3-MoE, Granite), nanoGPT, torchtitan and this
package's own decoder. A name that is not here is asked for, never guessed.
"""

from __future__ import annotations

from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EMBEDDINGS = _words(
    "wte embed_tokens tok_embeddings token_embedding token_embeddings tok_emb embedding embeddings embed embed_in "
    "word_embeddings tokens_embedding token_embedding_table"
)
POSITIONS = _words(
    "wpe positions position_embedding position_embeddings pos_embedding pos_embeddings pos_emb embed_positions "
    "position_embedding_table pos_embed"
)
UNEMBEDDINGS = _words("lm_head head output unembedding unembed embed_out output_projection output_layer")
HIDDEN = _words(
    "q_proj k_proj v_proj qkv_proj qkv wq wk wv wqkv c_attn c_q c_k c_v query key value query_key_value in_proj "
    "gate_proj up_proj gate_up_proj c_fc fc fc1 fc_in w1 w3 w_gate w_up w_in dense_h_to_4h input linear_qkv linear_fc1"
)
RESIDUAL_OUTPUTS = _words(
    "o_proj out_proj c_proj wo dense proj down_proj fc2 fc_out w2 w_down w_out dense_4h_to_h output linear_proj linear_fc2"
)
ROUTERS = _words("router gate shared_expert_gate wg")
QK_NORMS = _words("q_norm k_norm q_layernorm k_layernorm query_norm key_norm q_ln k_ln norm_q norm_k")
# Norms that a block applies to a branch before adding it. AFTER_ATTENTION is one only in a block that has an AFTER_FFN and
# no AFTER_SELF_ATTENTION: Llama calls the norm before its FFN so, and so does GLM-4 beside norms after both branches.
AFTER_FFN = _words(
    "post_feedforward_layernorm post_ffn_norm post_ffw_norm post_mlp_norm post_mlp_layernorm post_feedforward_norm"
)
AFTER_SELF_ATTENTION = _words("post_self_attn_layernorm post_self_attn_norm")
AFTER_ATTENTION = _words("post_attention_layernorm post_attention_norm post_attn_norm")

# Norms that multiply by 1 + weight, whose weight starts at 0.
UNIT_OFFSET_NORMS = _words(
    "GemmaRMSNorm Gemma2RMSNorm Gemma3RMSNorm RecurrentGemmaRMSNorm T5GemmaRMSNorm T5Gemma2RMSNorm VaultGemmaRMSNorm "
    "NemotronLayerNorm1P Qwen3NextRMSNorm Qwen3_5RMSNorm Qwen3_5MoeRMSNorm Step3p7RMSNorm MiniMaxM3VLRMSNorm"
)

# What wrappers put into the names of parameters.
WRAPPERS = _words("_orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module parametrizations original")


def plain_name(name: str) -> str:
    """A parameter's name without what torch.compile, FSDP, checkpointing and parametrizations put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def own_name(name: str) -> str:
    """What model code calls the module or tensor: the last part of a name beside weight and bias."""
    parts = name.split(".")
    own = parts[-2] if parts[-1] in ("weight", "bias") and len(parts) > 1 else parts[-1]
    return own.removesuffix("_bias")


def block_of(name: str) -> str:
    """The block that a parameter stands in: its name up to the first number; '' outside the blocks."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if at is None else ".".join(parts[: at + 1])


def kind_of(module: Any) -> str:
    """The name of a module's class; fully_shard gives it one of its own."""
    return type(module).__name__.removeprefix("FSDP")


def unwrapped(model: Any) -> Any:
    """The model inside DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        if type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model
