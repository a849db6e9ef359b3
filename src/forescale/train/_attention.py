"""Causal grouped-query attention with optional query and key norms, rotary positions or ALiBi."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.train._masks import Linear
from forescale.train._norms import make_norm
from forescale.train._options import ModelOptions
from forescale.train._positions import alibi_bias, rotary_tables, rotate
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
            cos, sin = rotary_tables(self.seq_len, head_dim, self.options.rope_base)
            return cos[:, None], sin[:, None], None
        if self.options.position == "alibi":
            return None, None, alibi_bias(self.seq_len, self.shape.heads)
        return None, None, None

    def forward(self, length: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The tables of the first `length` positions: cosines, sines and the bias of the scores."""
        cos, sin, bias = self.cos, self.sin, self.bias
        return (
            None if cos is None else cos[:length],
            None if sin is None else sin[:length],
            None if bias is None else bias[:, :length, :length],
        )

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

    def forward(self, x: Tensor, cos: Tensor | None, sin: Tensor | None, bias: Tensor | None) -> Tensor:
        """`x` (batch, length, width); `cos` and `sin` (length, 1, head_dim / 2); `bias` (heads, length, length)."""
        batch, length, _ = x.shape
        q, k, v = self._project(x, batch, length)
        if cos is not None and sin is not None:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
            attn_mask=None if bias is None else bias.to(q.dtype),
            is_causal=bias is None, scale=self.scale, enable_gqa=self.grouped,
        )  # fmt: skip
        return self.output(y.transpose(1, 2).reshape(batch, length, -1))

    def _project(self, x: Tensor, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(x)
        if self.qk_norm == "full":
            sizes = [n * self.head_dim for n in (self.heads, self.kv_heads, self.kv_heads)]
            q, k, v = qkv.split(sizes, -1)
            heads = (batch, length, -1, self.head_dim)
            return self.q_norm(q).view(heads), self.k_norm(k).view(heads), v.view(heads)
        q, k, v = qkv.view(batch, length, -1, self.head_dim).split((self.heads, self.kv_heads, self.kv_heads), 2)
        return (self.q_norm(q), self.k_norm(k), v) if self.qk_norm else (q, k, v)
