"""Decoding a token at a time: the keys and values of the tokens before are kept, so each costs one pass of one token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from forescale.errors import ForescaleError
from forescale.train import Decoder
from forescale.train._attention import Attention
from forescale.train._norms import at_least_float32
from forescale.train._positions import rotary_turn


class Decoding:
    """`batch` sequences that a decoder goes on with, a token each at a time, from their first.

    After the tokens 0 to t the logits are those of the model's own forward pass over them at t, to rounding. Memory: keys and
    values of `model.seq_len` tokens in every layer, in the weights' dtype.
    """

    def __init__(self, model: Decoder, batch: int = 1) -> None:
        self.model, self.batch, self.position = model, batch, 0
        attention: Any = model.blocks[0].attention
        weight = model.embedding.weight
        size = (2, batch, attention.kv_heads, model.seq_len, attention.head_dim)
        self.kept = [torch.empty(size, dtype=weight.dtype, device=weight.device) for _ in model.blocks]
        tables = model.tables
        heads = attention.heads + attention.kv_heads
        rotary = tables.cos is not None and tables.sin is not None
        self._turn = rotary_turn(tables.cos, tables.sin, heads) if rotary else None  # pyright: ignore[reportArgumentType]

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """The next token of each sequence, (batch,), to the logits of the one after it, (batch, vocab)."""
        model, at = self.model, self.position
        if at >= model.seq_len:
            raise ForescaleError(
                f"a decoder reads at most seq_len {model.seq_len} tokens; this is one more: build it longer."
            )
        x = model.embedding(tokens).unsqueeze(1)
        if model.positions is not None:
            x = x + model.positions.weight[at]
        for kept, block in zip(self.kept, model.blocks, strict=True):
            x = self._block(block, x, kept)
        self.position += 1
        weight = model.embedding.weight if model.head is None else model.head.weight
        return at_least_float32(functional.linear(model.norm(x[:, 0]), weight))

    def _block(self, block: Any, x: Tensor, kept: Tensor) -> Tensor:
        x = x + self._attend(block.attention, block.attention_norm(x), kept)
        y: Any = block.ffn(block.ffn_norm(x))
        return x + (y[0] if block.routed else y)

    def _attend(self, attention: Attention, x: Tensor, kept: Tensor) -> Tensor:
        at = self.position
        q, k, v = attention.heads_of(attention.qkv(x), self._turn_here())
        kept[0, :, :, at], kept[1, :, :, at] = k[:, 0], v[:, 0]
        bias = self.model.tables.bias
        y = functional.scaled_dot_product_attention(
            q.transpose(1, 2), kept[0, :, :, : at + 1], kept[1, :, :, : at + 1],
            attn_mask=None if bias is None else bias[:, at : at + 1, : at + 1].to(q.dtype),
            scale=attention.scale, enable_gqa=attention.grouped,
        )  # fmt: skip
        return attention.output(y.transpose(1, 2).flatten(2))

    def _turn_here(self) -> Tensor | None:
        if self._turn is None:
            return None
        at = slice(self.position, self.position + 1)
        return self._turn[at] if self._turn.is_complex() else self._turn[:, at]
