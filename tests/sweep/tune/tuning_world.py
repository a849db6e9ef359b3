"""An engine whose runs end at once, with losses of a known landscape: what tuning should find is then known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forescale.fit.calibrate._valley import across, floor, landscape_of
from forescale.sweep import Job, Outcome
from forescale.sweep.engines import Task
from forescale.sweep.tune import Target
from forescale.train import shape_for
from forescale.workload import Workload

SEQ_LEN = 128


@dataclass
class World:
    """Best learning rate and batch are power laws of params and tokens, the gap is Step Law's measured valley."""

    rate: float = 0.012  # of the target
    batch: float = 6000.0
    rate_params: float = -0.5  # exponents
    rate_tokens: float = 0.2
    batch_tokens: float = 0.5
    noise: float = 0.0  # of ln loss
    params: float = 128e3  # the target, to which the constants belong
    tokens: float = 2.56e6

    def best(self, params: float, tokens: float) -> tuple[float, float]:
        n, d = params / self.params, tokens / self.tokens
        return self.rate * n**self.rate_params * d**self.rate_tokens, self.batch * d**self.batch_tokens

    def gap(self, row: Any) -> float:
        rate, batch = self.best(row["params"], row["tokens"])
        v = math.log2(row["batch_tokens"] / batch)
        u = math.log2(row["learning_rate"] / rate)
        valley = landscape_of(False)
        return float(across(valley, np.array(u - valley.ridge * v)) + floor(valley, np.array(v)))

    def loss(self, job: Job) -> float:
        row = job.row
        level = 1.2 + 40 * row["params"] ** -0.35 + 90 * row["tokens"] ** -0.37
        draw = np.random.default_rng(int(job.key, 16)).normal(scale=self.noise)
        return level * (1 + self.gap(row)) * math.exp(draw)


@dataclass
class InstantEngine:
    """Runs end when they start, and write the result that a run of the trainer would."""

    world: World
    outcome: Callable[[Job], Outcome] | None = None  # instead of the world's
    name: str = "instant"
    slots: int = 2
    made: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closed: int = 0
    _ended: list[tuple[str, Outcome]] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.slots

    def start(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.made.append(task.job.key)
            self._ended.append((task.job.key, self._run(task)))

    def _run(self, task: Task) -> Outcome:
        if self.outcome is not None:
            return self.outcome(task.job)
        loss = self.world.loss(task.job)
        row = {"kind": "forescale-train", "state": "finished", "loss": loss, "seconds": task.job.compute / 1e10}
        folder = Path(task.folder)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(row))
        return Outcome(state="done", loss=loss, row=row)

    def finished(self, timeout: float) -> list[tuple[str, Outcome]]:
        del timeout
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        self.closed += 1


def target_of(params: float = 128e3, tokens: float = 2.56e6, **settings: Any) -> Target:
    shape = shape_for(params, vocab=256, seq_len=SEQ_LEN)
    return Target(workload=Workload.from_shape(shape, tokens=tokens, seq_len=SEQ_LEN), settings=settings)
