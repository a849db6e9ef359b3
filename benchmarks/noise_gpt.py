"""A GPT-2-like model as facts and papers on per-example norms measure it: biases, LayerNorm, an output matrix of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Pre-norm attention and a GELU feed-forward layer, with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class NoiseGPT(nn.Module):
    """Learned positions, which every method here needs looked up once an example."""

    def __init__(self, *, vocab: int, length: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, length) tokens to (batch, length, vocab) logits."""
        at = torch.arange(rows.shape[1], device=rows.device).repeat(len(rows), 1)
        return self.head(self.norm(self.blocks(self.tokens(rows) + self.positions(at))))


def mean_loss(model: Any, rows: Tensor) -> Tensor:
    """Mean nats per token of `rows` (batch, length + 1)."""
    logits = model(rows[:, :-1].contiguous())  # Opacus needs it
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
