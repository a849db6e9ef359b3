"""A sweep as a first script has it: a plain GPT, torch's defaults, one member after another. The rival of bench_population."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Pre-norm attention and a GELU feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).transpose(1, 3)
        y = functional.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Learned positions and a tied output matrix, as GPT-2."""

    def __init__(self, vocab: int, length: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, rows: Tensor, targets: Tensor) -> Tensor:
        """The mean loss."""
        x = self.blocks(self.tokens(rows) + self.positions.weight[: rows.shape[1]])
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Naive:
    """One member in training."""

    def __init__(self, data: Tensor, *, layers: int, width: int, heads: int, seq_len: int, batch: int) -> None:
        self.data, self.seq_len, self.batch = data, seq_len, batch
        self.model = GPT(256, seq_len, layers, width, heads)
        self.optimizer: Any = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def step(self) -> float:
        """One step; the loss, which a script prints."""
        starts = torch.randint(len(self.data) - self.seq_len - 1, (self.batch,)).tolist()
        rows = torch.stack([self.data[i : i + self.seq_len + 1] for i in starts])
        loss = self.model(rows[:, :-1], rows[:, 1:])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()
