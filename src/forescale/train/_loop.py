"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from forescale.train._batches import Batches
from forescale.train._clock import Clock
from forescale.train._config import TrainConfig
from forescale.train._corpus import Corpus, open_corpus
from forescale.train._distributed import World, joined
from forescale.train._evaluate import HeldOut, check_held_out
from forescale.train._folder import check_free
from forescale.train._history import History, mean_of_last
from forescale.train._interrupt import Interrupt, RunInterruptedError, interruptible
from forescale.train._keeper import Keeper
from forescale.train._noise import measured
from forescale.train._peak import bf16_slowdown, matmul_peak
from forescale.train._progress import Progress
from forescale.train._result import Result
from forescale.train._step import Stepper, precision_of

Number = Tensor | float
SAVE_EVERY = 300.0  # seconds between checkpoints, where the config states no steps


class Step(NamedTuple):
    """What a caller sees after each step."""

    step: int  # steps taken, this one included
    loss: Number  # nats per token before the step's update; a tensor where fetching it would wait
    grad_norm: Number  # before clipping
    learning_rate: float
    model: Any


OnStep = Callable[[Step], object]


def train(
    config: TrainConfig,
    *,
    corpus: Corpus | None = None,
    on_step: OnStep | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Result:
    """Train as the config says and measure the held-out loss; files are written where the config has an `out` folder.

    `corpus` None opens `config.data`. `on_step` is called after every step; if it returns True, the run ends there (of
    several processes one is enough, and all end at the next step that `log_every` divides).
    `resume` goes on from the newest checkpoint in `out`, to the same bits as a run that was never stopped (on the same
    device, threads and processes); without one it starts anew. Under torchrun the processes share the run.

    A loss or gradient norm that is not finite ends the run: the result is `diverged`, with an infinite loss. Ctrl-C and
    SIGTERM save a checkpoint first, if there is a folder, and raise `RunInterruptedError`. Raises `ForescaleError` for
    a config that fits neither the data nor the run in the folder.
    """
    with joined(config) as world:
        # A run keeps its precision: on a device that would take another one it does not go on unasked.
        config = replace(config, precision=precision_of(config, world.device))
        if config.out is not None and world.main:
            check_free(Path(config.out), resume=resume)
        session = Session(config, world, corpus or open_data(config, world), resume=resume, progress=progress)
        try:
            return session.run(on_step)
        finally:
            session.close()


def open_data(config: TrainConfig, world: World) -> Corpus:
    """The data, prepared by the first process and then opened by all."""
    if not world.main:
        world.wait()
    opened = open_corpus(
        config.data or None,
        tokenizer=config.tokenizer,
        need_tokens=config.tokens,
        held_out=config.held_out,
        seq_len=config.seq_len,
        key=config.key,
        errors=config.errors,
    )
    if world.main:
        world.wait()
    return opened


class Session:
    """One process's part of a run, from its first step or a checkpoint to its end.

    `run` takes all steps; a caller that takes them itself tells of each by `took`, and then asks for the `end`.
    """

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        corpus: Any,
        *,
        resume: bool,
        progress: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.config, self.world, self.corpus = config, world, corpus
        corpus.check_vocab(config.shape.vocab)
        check_held_out(len(corpus.held_out), config.seq_len)
        batches = Batches(corpus.train, seq_len=config.seq_len, seed=config.seed, least=config.batch_sequences)
        self.stepper = Stepper(config, world, batches)
        self.held_out = HeldOut(corpus.held_out, self.stepper)
        self.notes = [
            *corpus.notes,
            *_precision_notes(self.stepper),
            *_alone(config, world),
            *_passes(config, len(corpus.train)),
        ]
        self.keeper = Keeper(config, self.stepper, corpus.describe(), resume=resume) if config.out else None
        self.clock = clock or Clock()
        self.start, self.clock.seconds = (self.keeper.step, self.keeper.seconds) if self.keeper else (0, 0.0)
        self.taken, self._bad = self.start, None  # steps, and the first one that was not finite
        self.history = History(self.start, 1 if self.stepper.on_cpu else config.log_every)
        self.progress = self._make_progress() if progress and world.main else None
        self._saved = time.monotonic()
        self._asked = False  # to end, by this process's callback

    def run(self, on_step: OnStep | None = None) -> Result:
        """Take the steps that are left."""
        with interruptible(self.keeper is not None) as interrupt:
            self.clock.start()
            while self.taken < self.config.steps:
                if self.took(*self.stepper.step(self.taken), on_step):
                    break
                if self._interrupted(interrupt, self.taken):
                    self.stop(interrupt)
                    break
            self.clock.stop()
            if self.progress is not None:
                self.progress.show(self.taken, self.history.losses, self.clock.seconds)
            return self.end()

    def took(self, loss: Number, norm: Number, on_step: OnStep | None = None) -> bool:
        """Take note of one more step and do what follows it; whether the run diverged or `on_step` ends it there."""
        self.history.add(loss, norm)
        self.taken += 1
        if self.stepper.meter is not None and (
            self.taken % self.config.log_every == 0 or self.taken == self.config.steps
        ):
            self.history.noise[self.taken] = measured(self.stepper.meter)
        if self.history.due or self._due(self.taken):
            if (bad := self.history.fetch()) is not None:
                self._bad = bad
                return True
            self._upkeep(self.taken)
        if on_step is not None and self._ended(on_step(self._seen(self.taken, loss, norm)) is True, self.taken):
            self._bad = self.history.fetch()
            return True
        return False

    def _due(self, taken: int) -> bool:
        """Whether something is to be done after this step that needs its numbers."""
        config = self.config
        if taken == config.steps or (config.eval_every and taken % config.eval_every == 0):
            return True
        return self.keeper is not None and self._saves(taken)

    def _saves(self, taken: int) -> bool:
        """Whether a checkpoint follows this step. Processes agree on the time now and then, for their clocks differ."""
        every = self.config.checkpoint_every
        if every is not None:
            return taken % every == 0
        late = time.monotonic() - self._saved > SAVE_EVERY
        return late if self.world.size == 1 else taken % self.config.log_every == 0 and self.world.agree(late)

    def _upkeep(self, taken: int) -> None:
        config, last = self.config, taken == self.config.steps
        if config.eval_every and taken % config.eval_every == 0 and not last:
            with self.clock.paused():
                self._evaluate(taken)
        if self.keeper is not None and not last:
            if self._saves(taken):
                with self.clock.paused():
                    self._save(taken)
            elif taken - self.keeper.written >= config.log_every:
                self.keeper.write(self.history, taken)
        if self.progress is not None and self.progress.due:
            self.progress.show(taken, self.history.losses, self.clock.now())

    def _evaluate(self, taken: int) -> float:
        loss = self.history.held_out[taken] = self.held_out.loss()
        return loss

    def _save(self, taken: int) -> None:
        assert self.keeper is not None
        known = len(self.keeper.notes)
        self.keeper.save(self.history, taken, self.clock.seconds)
        for note in self.keeper.notes[known:]:
            self._say(note)
        self._saved = time.monotonic()

    def _ended(self, asked: bool, taken: int) -> bool:
        """As `_interrupted`: one process's callback may have asked a step before another's."""
        self._asked = self._asked or asked
        if self.world.size == 1:
            return asked
        return taken % self.config.log_every == 0 and self.world.agree(self._asked)

    def _interrupted(self, interrupt: Interrupt, taken: int) -> bool:
        """Processes agree on it now and then, for each may have heard it after another step."""
        if self.world.size == 1 or self.keeper is None:
            return interrupt.asked
        return taken % self.config.log_every == 0 and self.world.agree(interrupt.asked)

    def stop(self, interrupt: Interrupt) -> None:
        """Save and raise; it returns only where a step turns out to have diverged, which is no state to save."""
        assert self.keeper is not None
        self._bad = self.history.fetch()
        if self._bad is not None:
            return
        self.clock.stop()
        self._save(self.taken)
        step = self.keeper.last_checkpoint()
        raise RunInterruptedError(
            f"interrupted after step {self.taken} of {self.config.steps}; the checkpoint of step {step} is in "
            f"{self.config.out}: go on with the same command and --resume.",
            interrupt.number or 2,
        )

    def _seen(self, taken: int, loss: Number, norm: Number) -> Step:
        values = (float(loss), float(norm)) if self.stepper.on_cpu else (loss, norm)
        return Step(taken, *values, self.stepper.learning_rate(taken - 1), self.stepper.bare)

    def end(self) -> Result:
        """Measure the held-out loss and write what there is to write."""
        taken, diverged_at, loss = self.taken, self._bad, math.inf
        if diverged_at is None:
            loss = self._evaluate(taken)
            if not math.isfinite(loss):
                diverged_at = taken
        if self.keeper is not None and diverged_at is None and taken > self.start:
            self._save(taken)
        elif self.keeper is not None:
            self.keeper.write(self.history, diverged_at or taken, sync=True)
        result = self._result(taken, loss, diverged_at)
        if self.keeper is not None:
            self.keeper.finish(result.to_json())
        return result

    def _result(self, taken: int, loss: float, diverged_at: int | None) -> Result:
        facts = self.corpus.describe()
        rate = facts.get("held_out_bytes_per_token")
        losses = [*(self.keeper.earlier if self.keeper else ()), *self.history.losses]
        return Result(
            config=self.config,
            loss=loss,
            train_loss=math.inf if diverged_at else mean_of_last(losses),
            steps=diverged_at or taken,
            seconds=self.clock.seconds,
            diverged_at=diverged_at,
            bits_per_byte=loss / math.log(2) / rate if rate else None,
            held_out_tokens=self.held_out.tokens,
            losses=tuple(self.history.losses),
            micro_batch=self.stepper.micro_batch,
            precision=self.stepper.precision,
            processes=self.world.size,
            device=str(self.world.device),
            threads=self.stepper.threads,
            corpus=facts,
            notes=(*self.notes, *(self.keeper.notes if self.keeper else ())),
        )

    def _make_progress(self) -> Progress:
        config, stepper = self.config, self.stepper
        each = 1 if stepper.cores is None else stepper.cores.count
        peak = matmul_peak(self.world.device, stepper.precision) * self.world.size * each
        made = Progress(
            start=self.start,
            steps=config.steps,
            batch_tokens=config.batch_tokens,
            flops_per_token=config.flops_per_token,
            peak=peak,
        )
        made.say(f"MFU is against {peak:.3g} FLOP/s, the best {stepper.precision} matrix product measured here now.")
        for note in (*self.notes, *(self.keeper.notes if self.keeper else ())):
            made.say(note)
        if self.start:
            made.say(f"resumed after step {self.start} of {config.steps}.")
        return made

    def _say(self, note: str) -> None:
        if self.progress is not None:
            self.progress.say(note)

    def close(self) -> None:
        """Let go of the terminal and the folder."""
        if self.progress is not None:
            self.progress.close()
        if self.keeper is not None:
            self.keeper.close()
        if self.stepper.cores is not None:
            self.stepper.cores.close()


def _passes(config: TrainConfig, tokens: int) -> list[str]:
    passes = config.tokens / tokens
    return [f"the run takes {passes:.3g} passes over {tokens:,} training tokens"] if passes > 1 else []


def _alone(config: TrainConfig, world: World) -> list[str]:
    if world.size > 1 or config.parallel not in ("ddp", "fsdp"):
        return []
    return [
        f"parallel {config.parallel} shares a run between the processes of torchrun; this is one alone: it is not used"
    ]


def _precision_notes(stepper: Stepper) -> list[str]:
    if stepper.precision != "bf16" or not stepper.on_cpu:
        return []
    slower = bf16_slowdown(stepper.world.device)
    return [f"bf16 is {slower:.0f} times slower than fp32 on this processor"] if slower > 1.2 else []
