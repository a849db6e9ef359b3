"""Tiny decoders as people write them: nanoGPT's and torchtitan's names, and Hugging Face's classes at toy sizes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCAB, LENGTH = 31, 8


class CausalSelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.n_head = heads
        self.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.c_proj = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.c_attn(x).view(b, t, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, d))


class MLP(nn.Module):
    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=bias)
        self.c_proj = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class GPTBlock(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)
        self.attn, self.mlp = CausalSelfAttention(width, heads, bias), MLP(width, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """As nanoGPT names its parts."""

    def __init__(self, width: int = 16, layers: int = 2, heads: int = 2, *, bias: bool = False, tied: bool = False):
        super().__init__()
        self.config = SimpleNamespace(n_layer=layers, n_head=heads, n_embd=width)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCAB, width),
                "wpe": nn.Embedding(LENGTH, width),
                "h": nn.ModuleList(GPTBlock(width, heads, bias) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width, bias=bias),
            }
        )
        self.lm_head = nn.Linear(width, VOCAB, bias=False)
        if tied:
            self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, tokens: Tensor) -> Tensor:
        parts: Any = self.transformer
        x = parts["wte"](tokens) + parts["wpe"].weight[: tokens.shape[1]]
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.n_heads, self.head_dim = heads, width // heads
        self.wq, self.wk = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.wv, self.wo = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(self.head_dim), nn.RMSNorm(self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (w(x).view(b, t, self.n_heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        y = functional.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, is_causal=True)
        return self.wo(y.transpose(1, 2).reshape(b, t, d))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1, self.w3 = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.w2 = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class GroupedExperts(nn.Module):
    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(experts, 2 * width, width))
        self.w2 = nn.Parameter(torch.empty(experts, width, 2 * width))
        self.w3 = nn.Parameter(torch.empty(experts, 2 * width, width))


class TokenChoiceTopKRouter(nn.Module):
    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)


class MoE(nn.Module):
    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.experts, self.router = GroupedExperts(width, experts), TokenChoiceTopKRouter(width, experts)
        self.shared_experts = FeedForward(width)


class TitanBlock(nn.Module):
    def __init__(self, width: int, heads: int, experts: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        if experts:
            self.moe = MoE(width, experts)
        else:
            self.feed_forward = FeedForward(width)
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Titan(nn.Module):
    """As torchtitan names its parts: blocks in a ModuleDict; with experts it has no forward here."""

    def __init__(self, width: int = 16, layers: int = 2, heads: int = 2, *, experts: int = 0) -> None:
        super().__init__()
        self.model_args = SimpleNamespace(n_layers=layers, dim=width)
        self.tok_embeddings = nn.Embedding(VOCAB, width)
        self.layers = nn.ModuleDict({str(i): TitanBlock(width, heads, experts) for i in range(layers)})
        self.norm = nn.RMSNorm(width)
        self.output = nn.Linear(width, VOCAB, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tok_embeddings(tokens)
        for block in self.layers.values():
            x = block(x)
        return self.output(self.norm(x))


def on_meta(kind: Any, *args: Any, **options: Any) -> Any:
    """A model without memory: rules need names and shapes alone."""
    with torch.device("meta"):
        return kind(*args, **options)


def hugging_face(name: str, *, width: int = 24, layers: int = 2, heads: int = 2, **options: Any) -> Any:
    """`name`ForCausalLM (LMHeadModel for GPT2) of toy size, without dropout; reproducible but for its own draw."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = getattr(transformers, f"{name}Config")
    if name == "GPT2":
        sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": LENGTH}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        kind = transformers.GPT2LMHeadModel
    else:
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        sizes |= {"intermediate_size": 2 * width, "max_position_embeddings": LENGTH}
        sizes |= {} if name == "GPTNeoX" else {"num_key_value_heads": heads}
        kind = getattr(transformers, f"{name}ForCausalLM")
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return kind(config(vocab_size=VOCAB, **{**special, **sizes, **options}))


def tokens(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCAB, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    """Mean nats per token of predicting the next one."""
    out = model(batch)
    logits = out if isinstance(out, Tensor) else out.logits
    return functional.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), batch[:, 1:].reshape(-1))
