"""The loss on held-out text."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from forescale.errors import ForescaleError
from forescale.train._batches import Batches
from forescale.train._shards import TokenShards
from forescale.train._step import Stepper, pieces


class HeldOut:
    """The held-out sequences that a run is measured on: the first ones, at most `eval_tokens`, always the same."""

    def __init__(self, tokens: TokenShards, stepper: Stepper) -> None:
        config = stepper.config
        self.batches = Batches(tokens, seq_len=config.seq_len, shuffle=False)
        limit = self.batches.sequences
        if config.eval_tokens is not None:
            limit = min(limit, max(1, config.eval_tokens // config.seq_len))
        self.sequences, self.stepper = limit, stepper

    @property
    def tokens(self) -> int:
        """Tokens that are predicted."""
        return self.sequences * self.batches.seq_len

    def loss(self) -> float:
        """Mean nats per token, over all processes."""
        stepper, world = self.stepper, self.stepper.world
        model = stepper.bare if world.mode == "ddp" else stepper.model
        total = torch.zeros((), device=world.device, dtype=torch.float64)
        for piece in pieces(self.sequences, stepper.micro_batch, world):
            rows = self.batches.at(piece.start, piece.sequences).to(world.device)
            for loss, count in stepper.spread(partial(self._loss, model), rows):
                total += loss * (piece.weight * count / len(rows))
        return float(world.total(total))

    @torch.no_grad()
    def _loss(self, model: Any, rows: torch.Tensor) -> torch.Tensor:
        with self.stepper.autocast():
            return model(rows[:, :-1], rows[:, 1:]).loss.double()


def check_held_out(tokens: int, seq_len: int) -> None:
    """Raise `ForescaleError` where the held-out text is below one sequence."""
    if tokens <= seq_len:
        raise ForescaleError(
            f"the held-out text must hold one sequence, {seq_len + 1} tokens; it has {tokens}: give more data, a larger "
            "held_out, or a shorter seq_len."
        )
