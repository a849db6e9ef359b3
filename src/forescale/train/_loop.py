"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from forescale.train._batches import Batches
from forescale.train._config import TrainConfig
from forescale.train._corpus import Corpus, open_corpus
from forescale.train._distributed import World, joined
from forescale.train._evaluate import HeldOut, check_held_out
from forescale.train._result import Result, mean_of_last
from forescale.train._step import Stepper


class Step(NamedTuple):
    """What a caller sees after each step."""

    step: int  # steps taken, this one included
    loss: Tensor | float  # nats per token before the step's update; a tensor where fetching it would wait
    grad_norm: Tensor | float
    learning_rate: float
    model: Any


OnStep = Callable[[Step], object]


def train(config: TrainConfig, *, corpus: Corpus | None = None, on_step: OnStep | None = None) -> Result:
    """Train as the config says and measure the held-out loss.

    `corpus` None opens `config.data`. `on_step` is called after every step; if it returns True, the run stops there.
    A loss or gradient norm that is not finite ends the run: its result is `diverged`, with an infinite loss.
    """
    with joined(config) as world:
        return Session(config, world, corpus or _open(config, world)).run(on_step)


def _open(config: TrainConfig, world: World) -> Corpus:
    """The data, prepared by the first process and then opened by all."""
    if not world.main:
        world.wait()
    opened = open_corpus(
        config.data or None,
        tokenizer=config.tokenizer,
        need_tokens=config.tokens,
        held_out=config.held_out,
        seq_len=config.seq_len,
    )
    if world.main:
        world.wait()
    return opened


class Session:
    """One process's part of a run, from its first step or a checkpoint to its end."""

    def __init__(self, config: TrainConfig, world: World, corpus: Any) -> None:
        self.config, self.world, self.corpus = config, world, corpus
        corpus.check_vocab(config.shape.vocab)
        check_held_out(len(corpus.held_out), config.seq_len)
        batches = Batches(corpus.train, seq_len=config.seq_len, seed=config.seed, least=config.batch_sequences)
        self.stepper = Stepper(config, world, batches)
        self.held_out = HeldOut(corpus.held_out, self.stepper)
        self.start, self.seconds = 0, 0.0
        self.history = History(1 if self.stepper.on_cpu else config.log_every)

    def run(self, on_step: OnStep | None = None) -> Result:
        """Take the steps that are left."""
        stepper, history, steps = self.stepper, self.history, self.config.steps
        taken, bad = self.start, None
        began = time.perf_counter()
        for index in range(self.start, steps):
            loss, norm = stepper.step(index)
            taken = index + 1
            history.add(loss, norm)
            if history.due or taken == steps:
                bad = history.fetch()
                if bad is not None:
                    break
            if on_step is not None and on_step(self._seen(taken, loss, norm)) is True:
                bad = history.fetch()
                break
        self.seconds += time.perf_counter() - began
        return self._result(taken, None if bad is None else self.start + bad + 1)

    def _seen(self, taken: int, loss: Tensor, norm: Tensor) -> Step:
        values = (float(loss), float(norm)) if self.stepper.on_cpu else (loss, norm)
        return Step(taken, *values, self.stepper.learning_rate(taken - 1), self.stepper.bare)

    def _result(self, taken: int, diverged_at: int | None) -> Result:
        loss = math.inf if diverged_at else self.held_out.loss()
        return Result(
            config=self.config,
            loss=loss if math.isfinite(loss) else math.inf,
            train_loss=math.inf if diverged_at else mean_of_last(self.history.losses),
            steps=diverged_at or taken,
            seconds=self.seconds,
            diverged_at=diverged_at,
            bits_per_byte=self._bits_per_byte(loss),
            held_out_tokens=self.held_out.tokens,
            losses=tuple(self.history.losses),
            micro_batch=self.stepper.micro_batch,
            processes=self.world.size,
            device=str(self.world.device),
            corpus=self.corpus.describe(),
        )

    def _bits_per_byte(self, loss: float) -> float | None:
        rate = self.corpus.describe().get("held_out_bytes_per_token")
        return loss / math.log(2) / rate if rate else None


class History:
    """Losses and gradient norms, fetched from the device a few at a time."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.losses: list[float] = []
        self.norms: list[float] = []
        self._pending: list[tuple[Tensor, Tensor]] = []

    @property
    def due(self) -> bool:
        """Whether it is time to fetch."""
        return len(self._pending) >= self.every

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Take note of a step without waiting for its numbers."""
        self._pending.append((loss, norm))

    def fetch(self) -> int | None:
        """Wait for the numbers; the index of the first step with one that is not finite, None where all are."""
        bad = None
        for loss, norm in self._pending:
            self.losses.append(float(loss))
            self.norms.append(float(norm))
            if bad is None and not (math.isfinite(self.losses[-1]) and math.isfinite(self.norms[-1])):
                bad = len(self.losses) - 1
        self._pending.clear()
        return bad
