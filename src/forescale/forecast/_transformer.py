"""A small causal transformer, and its single steps for many paths that share a window's past."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.errors import ForescaleError

HEAD = 16  # width of a head, where the whole is a multiple of it; else there is one head
BASE = 1000.0  # of rotary positions: the slowest pair of a head of 16 turns by one in 1000^(7/8) = 420 steps
ROOM = 32  # steps that a path's memory first has room for


class Transformer(nn.Module):
    """Pre-norm blocks of attention and a hidden layer four times as wide; positions turn queries and keys (Su et al. 2021).

    Positions are relative, so a horizon may be longer than it was in training.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden % 2:
            raise ForescaleError(f"a transformer turns pairs of numbers, so hidden must be even; got {hidden}.")
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(Block(hidden, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """States [windows, steps, hidden] of inputs [windows, steps, inputs]."""
        return self.remembered(x)[0]

    def remembered(self, x: Tensor) -> tuple[Tensor, list[Memory]]:
        """The states, and what each block needs for the steps that follow."""
        x, memories = self.enter(x), list[Memory]()
        for block in self.blocks:
            x, memory = block(x)
            memories.append(memory)
        return self.norm(x), memories

    def step(self, x: Tensor, memories: list[Memory]) -> Tensor:
        """States of the next step of all paths, inputs and states [windows, paths, ...]; memories grow by it."""
        x = self.enter(x)
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block.step(x, memory)  # type: ignore[operator]  # a ModuleList is of Modules
        return self.norm(x)


class Memory:
    """Keys and values of one block: those of a window once for all its paths, those since then a path each."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values  # [windows, heads, context, width]
        self.own = keys.new_empty(2, 0, 0, 0, 0, 0)  # keys and values [2, windows, heads, paths, room, width]
        self.count = 0

    @property
    def place(self) -> int:
        """Of the next step, counted from the window's first."""
        return self.keys.shape[2] + self.count

    def add(self, keys: Tensor, values: Tensor) -> None:
        """Those of one more step, [windows, heads, paths, width]."""
        if self.count == self.own.shape[4]:
            grown = keys.new_empty(2, *keys.shape[:3], max(2 * self.count, ROOM), keys.shape[3])
            if self.count:
                grown[..., : self.count, :] = self.own
            self.own = grown
        self.own[0, ..., self.count, :] = keys
        self.own[1, ..., self.count, :] = values
        self.count += 1

    def attend(self, queries: Tensor) -> Tensor:
        """What queries [windows, heads, paths, width] find in both, by one softmax."""
        keys, values = self.own[..., : self.count, :]
        shared = queries @ self.keys.transpose(2, 3)
        own = (keys @ queries[..., None])[..., 0]
        weight = functional.softmax(torch.cat([shared, own], -1) / queries.shape[-1] ** 0.5, -1)
        past, since = weight[..., : -self.count], weight[..., -self.count :]
        return past @ self.values + (since[..., None, :] @ values)[..., 0, :]


class Block(nn.Module):
    """Attention and a hidden layer, each added to what enters it."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = hidden // HEAD if hidden % HEAD == 0 else 1
        self.before, self.between = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.asked = nn.Linear(hidden, 3 * hidden, bias=False)
        self.found = nn.Linear(hidden, hidden, bias=False)
        self.wide, self.narrow = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Memory]:
        """States of all steps, each of which sees itself and those before."""
        queries, keys, values = self._asked(x, torch.arange(x.shape[1]))
        found = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self._added(x, found), Memory(keys, values)

    def step(self, x: Tensor, memory: Memory) -> Tensor:
        """States of one step of all paths, [windows, paths, hidden]."""
        queries, keys, values = self._asked(x, torch.tensor([memory.place]))
        memory.add(keys, values)
        return self._added(x, memory.attend(queries))

    def _asked(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of each head, [windows, heads, rows, width]."""
        parts = self.asked(self.before(x)).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        return turned(queries, places), turned(keys, places), values

    def _added(self, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.dropout(self.found(found.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.narrow(functional.gelu(self.wide(self.between(x)))))


def turned(x: Tensor, places: Tensor) -> Tensor:
    """Pairs of numbers [..., rows, width] turned by their place, each pair at its own pace; one place may serve all rows."""
    half = x.shape[-1] // 2
    pace = BASE ** -(torch.arange(half, dtype=x.dtype) / half)
    angle = places[:, None] * pace
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], -1)
