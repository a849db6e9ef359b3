"""The decoder-only language model that the trainer trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forescale.errors import ForescaleError
from forescale.train._attention import Attention, Tables
from forescale.train._experts import ExpertFFN
from forescale.train._ffn import FFN, activation_of, ffn_width
from forescale.train._losses import Losses, cross_entropy
from forescale.train._masks import Linear, draw_masks_
from forescale.train._norms import at_least_float32, make_norm
from forescale.train._options import ModelOptions
from forescale.workload import Shape
from forescale.workload._shape import check_size

INITIAL_STD = 0.02  # GPT-2's; a parametrization draws the weights again


class Embedding(nn.Module):
    """A table of vectors: of the vocabulary, or of learned positions; a `tied` one gives the logits too."""

    def __init__(self, count: int, width: int, *, tied: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.noise_rules = {"forward": "embedding"} | ({"logits": "linear"} if tied else {})

    def forward(self, tokens: Tensor) -> Tensor:
        """(...) whole numbers to (..., width)."""
        return functional.embedding(tokens, self.weight)

    def added_to(self, x: Tensor) -> Tensor:
        """`x` (batch, length, width) plus the first `length` vectors."""
        return x + self(torch.arange(x.shape[1], device=x.device))

    def logits(self, x: Tensor) -> Tensor:
        """(..., width) to (..., count): the product with every vector."""
        return functional.linear(x, self.weight)


class Block(nn.Module):
    """Attention and FFN, each after a norm and added to the residual stream."""

    def __init__(self, shape: Shape, options: ModelOptions, layer: int) -> None:
        super().__init__()
        masked = options.density < 1
        self.attention_norm = make_norm(shape.norm, shape.width, options.norm_eps)
        self.attention = Attention(shape, options, masked)
        self.ffn_norm = make_norm(shape.norm, shape.width, options.norm_eps)
        self.ffn = make_ffn(shape, options, layer, masked)
        self.routed = isinstance(self.ffn, ExpertFFN)

    def forward(self, x: Tensor, turn: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`x` (batch, length, width) to the same, and the balance loss of a mixture of experts."""
        x = x + self.attention(self.attention_norm(x), turn, bias)
        y: Any = self.ffn(self.ffn_norm(x))
        update, balance = y if self.routed else (y, None)
        return x + update, balance


def make_ffn(shape: Shape, options: ModelOptions, layer: int, masked: bool) -> FFN | ExpertFFN:
    """The feed-forward layer of block `layer`."""
    if shape.experts is not None and layer >= shape.experts.dense_layers:
        return ExpertFFN(shape, shape.experts, options, masked)
    activation = activation_of(shape, options)
    return FFN(
        shape.width, ffn_width(shape), gated=shape.gated, activation=activation, bias=shape.ffn_bias, masked=masked
    )


class Decoder(nn.Module):
    """A decoder-only transformer; `build_model` makes one with initial values."""

    def __init__(self, shape: Shape, options: ModelOptions, seq_len: int) -> None:
        super().__init__()
        self.shape, self.options, self.seq_len = shape, options, seq_len
        self.embedding = Embedding(shape.vocab, shape.width, tied=shape.tied)
        self.positions = Embedding(shape.positions, shape.width) if shape.positions else None
        self.tables = Tables(shape, options, seq_len)
        self.blocks = nn.ModuleList(Block(shape, options, layer) for layer in range(shape.layers))
        self.norm = make_norm(shape.norm, shape.width, options.norm_eps)
        self.head = None if shape.tied else Linear(shape.width, shape.vocab)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor | Losses:
        """Logits (batch, length, vocab), or the `Losses` if there are `targets`, both (batch, length).

        Logits are in float32, or in float64 if the model is.
        """
        x, balance = self.hidden(tokens)
        logits = at_least_float32(self.embedding.logits(x) if self.head is None else self.head(x))
        return logits if targets is None else self._losses(logits, targets, balance)

    def hidden(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the logits are made of, (batch, length, width), and the balance losses of mixtures of experts."""
        length = tokens.shape[1]
        if length > self.seq_len:
            raise ForescaleError(
                f"sequences must be at most seq_len {self.seq_len} long; got {length} tokens: "
                "build the model with a longer seq_len, which changes no parameter."
            )
        x = self.embedding(tokens)
        if self.positions is not None:
            x = self.positions.added_to(x)
        tables = self.tables(length)
        balance: list[Tensor] = []
        for block in self.blocks:
            x, one = self._run(block, x, *tables)
            balance += [] if one is None else [one]
        return self.norm(x), balance

    def _run(self, block: nn.Module, *arguments: Tensor | None) -> Any:
        if not (self.options.checkpointing and torch.is_grad_enabled()):
            return block(*arguments)
        import torch.utils.checkpoint as library

        run = cast("Callable[..., Any]", library.checkpoint)  # pyright: ignore[reportUnknownMemberType]
        return run(block, *arguments, use_reentrant=False)

    def _losses(self, logits: Tensor, targets: Tensor, balance: list[Tensor]) -> Losses:
        losses = cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), self.options.z_loss)
        if balance and self.options.load_balance:
            extra = self.options.load_balance * torch.stack(balance).mean()
            losses = losses._replace(objective=losses.objective + extra)
        return losses

    def expert_load(self) -> Tensor | None:
        """The share of the last batch's assignments that each expert got, (layers with experts, experts), or None."""
        loads = [module.load for module in self.modules() if isinstance(module, ExpertFFN)]
        return torch.stack(loads) if loads else None

    def fill_buffers_(self) -> None:
        """Compute masks and position tables, as after `model.to_empty` of a model on the meta device."""
        self.tables.fill_()
        draw_masks_(self, self.options.density, self.options.mask_seed)


def build_model(
    shape: Shape,
    options: ModelOptions | None = None,
    *,
    seq_len: int,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Decoder:
    """A decoder for sequences of at most `seq_len` tokens: matrices normal with std 0.02, norms 1, biases 0.

    `options` None: rotary positions, or learned ones where the shape has them. The values depend on `seed` and not on
    the `device`; on the meta device there are none. Raises `ForescaleError` for shapes that this model cannot have.
    """
    options = options or ModelOptions(position="learned" if shape.positions else "rotary")
    check_supported(shape, options, seq_len)
    if device is not None and torch.device(device).type == "meta":
        with torch.device("meta"):
            return Decoder(shape, options, seq_len)
    with torch.device("cpu"):
        model = Decoder(shape, options, seq_len)
        _initialise_(model, seed)
        draw_masks_(model, options.density, options.mask_seed)
    return model if device is None else model.to(device)


@torch.no_grad()
def _initialise_(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        kind = name.rpartition(".")[2]
        if kind.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() > 1:
            parameter.normal_(std=INITIAL_STD, generator=generator)
        else:
            parameter.fill_(1.0)


def check_supported(shape: Shape, options: ModelOptions, seq_len: int) -> None:
    """Raise `ForescaleError` if no decoder has this shape, these options and this sequence length."""
    check_size(seq_len, "seq_len")
    shape.parts()  # raises where heads or vocab are not stated
    for name, plain in (("latent", None), ("sinks", False), ("norms_per_layer", 2)):
        if (value := getattr(shape, name)) != plain:
            raise ForescaleError(
                f"the trainer's model needs a shape with {name} {plain}; got {value}: train a shape without it."
            )
    _check_positions(shape, options, seq_len)


def _check_positions(shape: Shape, options: ModelOptions, seq_len: int) -> None:
    learned = options.position == "learned"
    if learned != (shape.positions is not None):
        raise ForescaleError(
            f"learned positions and the shape's positions go together; got position {options.position!r} and "
            f"positions {shape.positions}: give both or neither."
        )
    if shape.positions is not None and shape.positions < seq_len:
        raise ForescaleError(
            f"a shape's learned positions must reach seq_len; got {shape.positions} for {seq_len}: raise them."
        )
    if options.position == "rotary" and (shape.attention_width // shape.heads) % 2:
        raise ForescaleError(
            f"rotary positions turn pairs, so head_dim must be even; got {shape.attention_width // shape.heads}: "
            "change heads or head_dim."
        )
