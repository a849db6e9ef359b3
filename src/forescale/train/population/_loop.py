"""The loop of a population: each member is a run like any other, but for its steps, which all take together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from forescale.train._clock import Clock
from forescale.train._config import TrainConfig
from forescale.train._corpus import Corpus
from forescale.train._distributed import World, joined
from forescale.train._folder import check_free
from forescale.train._interrupt import Interrupt, RunInterruptedError, interruptible
from forescale.train._loop import OnStep, Session, Step, open_data, train
from forescale.train._progress import Progress
from forescale.train._result import Result
from forescale.train._step import precision_of
from forescale.train.population._members import Members
from forescale.train.population._together import check_together

OnMember = Callable[[int, Step], object]


def train_population(
    configs: Sequence[TrainConfig],
    *,
    corpus: Corpus | None = None,
    on_step: OnMember | None = None,
    resume: bool = False,
    progress: bool = False,
) -> tuple[Result, ...]:
    """Train runs of one shape as one program; results in the order of the configs, each as `train` gives it.

    The members' numbers are those of runs by themselves up to rounding, and so are their files: a member that was
    interrupted goes on alone, and a run of `train` in a population. `on_step(place, step)` is called after every step of
    every member; if it returns True, that member ends there. One that ends or diverges leaves, and the others go on as
    if it had never been. `seconds` are a member's share of the time. On a CPU a population takes one thread: start a
    process a core.

    Raises `ForescaleError` for configs that cannot be one program (`together` groups them), and as `train` does;
    `RunInterruptedError` once the members with a folder have saved their checkpoints.
    """
    check_together(configs)
    if len(configs) == 1:
        watch: OnStep | None = on_step and partial(on_step, 0)
        return (train(configs[0], corpus=corpus, on_step=watch, resume=resume, progress=progress),)
    with joined(replace(configs[0], parallel="none", threads=1)) as world:
        configs = [replace(config, precision=precision_of(config, world.device)) for config in configs]
        for config in configs:
            if config.out is not None:
                check_free(Path(config.out), resume=resume)
        corpus = corpus or open_data(max(configs, key=lambda config: config.tokens), world)
        population = Population(world, on_step, progress)
        try:
            for config in configs:
                population.add(config, corpus, resume=resume)
            return population.run()
        finally:
            population.close()


class Share(Clock):
    """A member's share of the clock that all run by; what it does by itself pauses that."""

    def __init__(self, whole: Clock) -> None:
        super().__init__()
        self.whole = whole

    @contextmanager
    def paused(self) -> Generator[None]:
        """Time that is no member's training."""
        with self.whole.paused():
            yield


class Population:
    """Sessions that take their steps together, each until it ends."""

    members: Members  # of the live sessions; made anew when one leaves

    def __init__(self, world: World, on_step: OnMember | None, progress: bool) -> None:
        self.world, self.on_step = world, on_step
        self.clock, self._shared = Clock(), 0.0  # seconds that the members have had their shares of
        self.live: dict[int, Session] = {}
        self.results: dict[int, Result] = {}
        self._wanted, self.progress = progress, None

    def add(self, config: TrainConfig, corpus: Corpus, *, resume: bool) -> None:
        """One more member, from its first step or its newest checkpoint."""
        session = Session(config, self.world, corpus, resume=resume, clock=Share(self.clock))
        session.history.every = 1  # a member that diverges leaves at once
        if config.threads not in (None, 1):
            session.notes.append(f"a population takes one thread; threads {config.threads} is not used")
        self.live[len(self.live)] = session

    def run(self) -> tuple[Result, ...]:
        """Take the steps that are left."""
        self._say_beside()
        self.progress = _progress(self.live) if self._wanted else None
        with interruptible(any(session.keeper for session in self.live.values())) as interrupt:
            self._leave([place for place, session in self.live.items() if session.taken == session.config.steps])
            self.clock.start()
            while self.live:
                if ended := self._step():
                    self._leave(ended)
                if interrupt.asked and self.live:
                    self._stop(interrupt)
        return tuple(self.results[place] for place in sorted(self.results))

    def _say_beside(self) -> None:
        for session in self.live.values():
            others = len(self.live) - 1
            session.notes.append(f"trained as one program with {others} more; seconds are its share of the time")

    def _step(self) -> list[int]:
        """One step of every member; the places of those that end with it."""
        numbers = self.members.step([session.taken for session in self.live.values()])
        now = self.clock.now()
        share, self._shared = (now - self._shared) / len(self.live), now
        ended: list[int] = []
        for (place, session), (loss, norm) in zip(self.live.items(), numbers, strict=True):
            session.clock.seconds += share
            watch = self.on_step and partial(self.on_step, place)
            if session.took(loss, norm, watch) or session.taken == session.config.steps:
                ended.append(place)
        if self.progress is not None and self.progress.due:
            self._show(self.progress)
        return ended

    def _leave(self, places: Sequence[int]) -> None:
        """End members, and pack the rows of the others."""
        with self.clock.paused():
            for place in places:
                self.results[place] = self.live[place].end()
                self.live.pop(place).close()
            if self.live:
                self.members = Members([session.stepper for session in self.live.values()])

    def _stop(self, interrupt: Interrupt) -> NoReturn:
        """Save all that have a folder, and raise."""
        kept = [session for session in self.live.values() if session.keeper is not None]
        for session in kept:
            with suppress(RunInterruptedError):
                session.stop(interrupt)
        raise RunInterruptedError(
            f"interrupted; the checkpoints of {len(kept)} members are in their folders, those that had ended have results: "
            "go on with resume.",
            interrupt.number,
        )

    def _show(self, progress: Progress) -> None:
        sessions = self.live.values()
        taken = sum(session.taken for session in sessions) + sum(result.steps for result in self.results.values())
        seconds = sum(s.clock.seconds for s in sessions) + sum(r.seconds for r in self.results.values())
        progress.show(taken, [session.history.losses[-1] for session in sessions], seconds)

    def close(self) -> None:
        """Let go of the folders and the terminal."""
        for session in self.live.values():
            session.close()
        if self.progress is not None:
            self.progress.close()


def _progress(sessions: Mapping[int, Session]) -> Progress:
    """Steps and speed of all members together."""
    config = sessions[0].config
    made = Progress(
        start=sum(session.start for session in sessions.values()),
        steps=sum(session.config.steps for session in sessions.values()),
        batch_tokens=config.batch_tokens,
        flops_per_token=config.flops_per_token,
        peak=None,
    )
    made.say(f"{len(sessions)} runs as one program; steps, tokens and loss are of all of them.")
    return made
