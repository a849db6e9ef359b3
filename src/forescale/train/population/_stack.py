"""Several decoders of one shape as one: weights with a leading member axis, and the parts of a `Decoder` that heed it.

Members lie one after another along the batch: what works on single sequences, attention above all, is the Decoder's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.train._losses import Losses, cross_entropy
from forescale.train._masks import SUFFIX, Linear, masked
from forescale.train._model import Decoder, Embedding
from forescale.train._norms import RMSNorm, at_least_float32
from forescale.train.population._norms import stacked_rms_norm


class Stack(nn.Module):
    """Decoders like `one` whose parameters are `weights`, (members, ...) each under the Decoder's own name."""

    def __init__(self, one: Decoder, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        with torch.device("meta"):
            self.decoder = Decoder(one.shape, one.options, one.seq_len)
        self.decoder.tables = one.tables
        whole: Any = self.decoder
        modules: list[tuple[str, nn.Module]] = list(whole.named_modules())
        for name, module in modules:
            if kind := KINDS.get(type(module)):
                mask: Tensor | None = getattr(one.get_submodule(name), "weight" + SUFFIX, None)
                parent, _, last = name.rpartition(".")
                setattr(self.decoder.get_submodule(parent), last, kind(name, weights, module, mask))
        self.members = len(next(iter(weights.values())))

    def forward(self, rows: Tensor) -> Losses:
        """`rows` (members, sequences, length + 1) to each member's `Losses`, (members)."""
        tokens, targets = rows[..., :-1].flatten(0, 1), rows[..., 1:].flatten(1)
        x, _ = self.decoder.hidden(tokens)
        table: Any = self.decoder.embedding if self.decoder.head is None else self.decoder.head
        logits = torch.bmm(x.view(self.members, -1, x.shape[-1]), table.weight.mT)
        return cross_entropy(at_least_float32(logits), targets, self.decoder.options.z_loss)


class Part(nn.Module):
    """One module of every member: what it computes for (members * sequences, ...), each with its own weight."""

    mask: Tensor | None

    def __init__(self, name: str, weights: Mapping[str, nn.Parameter], one: Any, mask: Tensor | None) -> None:
        super().__init__()
        self.weight = weights[f"{name}.weight"]
        self.bias = weights.get(f"{name}.bias")
        self.eps: float = getattr(one, "eps", 0.0)
        self.register_buffer("mask", mask, persistent=False)

    def rows(self, x: Tensor) -> Tensor:
        """(members * sequences, ..., size) to (members, rows, size)."""
        return x.reshape(len(self.weight), -1, x.shape[-1])


class Linears(Part):
    """`Linear` for every member; they share the mask."""

    def forward(self, x: Tensor) -> Tensor:
        """(members * sequences, length, inputs) to (members * sequences, length, outputs)."""
        weight = masked(self.weight, self.mask).mT
        rows = self.rows(x)
        y = torch.bmm(rows, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), rows, weight)
        return y.view(*x.shape[:-1], -1)


class Embeddings(Part):
    """`Embedding` for every member, by its tokens' places in one long table."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(members * sequences, length) to (members * sequences, length, width)."""
        members, count, _ = self.weight.shape
        first = torch.arange(members, device=tokens.device).mul_(count).unsqueeze(1)
        places = (tokens.reshape(members, -1) + first).view(tokens.shape)
        return functional.embedding(places, self.weight.flatten(0, 1))

    def added_to(self, x: Tensor) -> Tensor:
        """`x` (members * sequences, length, width) plus each member's first vectors."""
        each = x.view(len(self.weight), -1, *x.shape[1:])
        return (each + self.weight[:, None, : x.shape[1]]).view(x.shape)


class RMSNorms(Part):
    """`RMSNorm` for every member."""

    def forward(self, x: Tensor) -> Tensor:
        """(members * sequences, ..., size) to the same."""
        return stacked_rms_norm(self.rows(x), self.weight, self.eps).view(x.shape)


class LayerNorms(Part):
    """LayerNorm for every member."""

    def forward(self, x: Tensor) -> Tensor:
        """(members * sequences, ..., size) to the same."""
        assert self.bias is not None
        y = functional.layer_norm(self.rows(x), x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias.unsqueeze(1), y, self.weight.unsqueeze(1)).view(x.shape)


KINDS: dict[type[nn.Module], type[Part]] = {
    Linear: Linears, Embedding: Embeddings, RMSNorm: RMSNorms, nn.LayerNorm: LayerNorms,
}  # fmt: skip
