"""Causal grouped-query attention with optional query and key norms, rotary positions or ALiBi."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.train._masks import Linear
from forescale.train._norms import make_norm
from forescale.train._options import ModelOptions
from forescale.train._positions import alibi_bias, rotary_tables, rotary_turn, rotate
from forescale.workload import Shape


class Tables(nn.Module):
    """What attention needs to know of positions, once for all layers; derived, so it is no part of the state_dict."""

    cos: Tensor | None
    sin: Tensor | None
    bias: Tensor | None

    def __init__(self, shape: Shape, options: ModelOptions, seq_len: int) -> None:
        super().__init__()
        self.shape, self.options, self.seq_len = shape, options, seq_len
        for name, table in zip(("cos", "sin", "bias"), self._computed(), strict=True):
            self.register_buffer(name, table, persistent=False)

    def _computed(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if self.options.position == "rotary":
            head_dim = self.shape.attention_width // self.shape.heads
            return *rotary_tables(self.seq_len, head_dim, self.options.rope_base), None
        if self.options.position == "alibi":
            return None, None, alibi_bias(self.seq_len, self.shape.heads)
        return None, None, None

    def forward(self, length: int) -> tuple[Tensor | None, Tensor | None]:
        """For the first `length` positions, what turns queries and keys and what is added to their scores."""
        heads = self.shape.heads + (self.shape.kv_heads or self.shape.heads)
        turn = bias = None
        if self.cos is not None and self.sin is not None:
            turn = rotary_turn(self.cos[:length], self.sin[:length], heads)
        if self.bias is not None:
            bias = self.bias[:, :length, :length]
        return turn, bias

    def fill_(self) -> None:
        """Compute the tables again, for a model that was made without memory."""
        with torch.device("cpu"):
            tables = self._computed()
        for name, table in zip(("cos", "sin", "bias"), tables, strict=True):
            if table is not None:
                self.get_buffer(name).copy_(table)


class Attention(nn.Module):
    """One attention layer; `qkv.weight` holds all queries, then all keys, then all values."""

    def __init__(self, shape: Shape, options: ModelOptions, masked: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads or shape.heads
        self.head_dim = shape.attention_width // shape.heads
        self.scale = options.attention_scale
        self.grouped = self.kv_heads != self.heads
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.qkv = Linear(shape.width, queries + 2 * keys, bias=shape.qkv_bias, masked=masked)
        self.output = Linear(queries, shape.width, bias=shape.o_bias, masked=masked)
        self.qk_norm = shape.qk_norm
        if shape.qk_norm is not None:
            sizes = (self.head_dim, self.head_dim) if shape.qk_norm == "head" else (queries, keys)
            self.q_norm = make_norm(shape.norm, sizes[0], options.norm_eps)
            self.k_norm = make_norm(shape.norm, sizes[1], options.norm_eps)

    def forward(self, x: Tensor, turn: Tensor | None, bias: Tensor | None) -> Tensor:
        """`x` (batch, length, width); `turn` for `rotate`; `bias` (heads, length, length)."""
        batch, length, _ = x.shape
        q, k, v = (part.transpose(1, 2) for part in self.heads_of(self.qkv(x), turn))
        y = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=None if bias is None else bias.to(q.dtype),
            is_causal=bias is None, scale=self.scale, enable_gqa=self.grouped,
        )  # fmt: skip
        return self.output(y.transpose(1, 2).reshape(batch, length, -1))

    def heads_of(self, qkv: Tensor, turn: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, length, heads, head_dim), normed and turned."""
        heads = qkv.view(*qkv.shape[:2], -1, self.head_dim)
        if self.qk_norm is None and turn is None:
            return torch.split(heads, [self.heads, self.kv_heads, self.kv_heads], 2)  # type: ignore[return-value]  # a tuple of three
        both, v = torch.split(heads, [self.heads + self.kv_heads, self.kv_heads], 2)
        if turn is not None and self.qk_norm is None:
            both = rotate(both, turn)
        q, k = torch.split(both, [self.heads, self.kv_heads], 2)
        if self.qk_norm is not None:
            q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
            q, k = (q, k) if turn is None else (rotate(q, turn), rotate(k, turn))
        return q, k, v

    def _normed(self, x: Tensor, norm: nn.Module) -> Tensor:
        return norm(x.flatten(2)).view(x.shape) if self.qk_norm == "full" else norm(x)
