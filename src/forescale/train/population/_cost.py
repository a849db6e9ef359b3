"""How many members are worth their while: a few steps of each number, timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from forescale.train._batches import Batches
from forescale.train._config import TrainConfig
from forescale.train._distributed import World, joined
from forescale.train._step import CPU_MEMORY, Stepper, ops, precision_of
from forescale.train.population._members import Members
from forescale.train.population._together import alone, program

FIRST = 4  # members; two gain little more than the noise of a short measurement
GAIN = 1.1  # what more members must gain over fewer, for they also need more memory and wait for one another
SLOW = 0.05  # seconds of one run's step from which on nothing is left to gain
BLOCK, BLOCKS = 0.05, 3  # seconds that are timed at once, and how often; the best one counts
STATE = 20  # bytes a parameter: weight, gradient, two moments, and a copy of the gradient


class Cost(NamedTuple):
    """What a step costs each of so many members; 1 is a run by itself."""

    members: int
    seconds: float  # of the step, over the members


_measured: dict[tuple[str, int], tuple[Cost, ...]] = {}


def best_members(config: TrainConfig, *, most: int = 64) -> int:
    """How many runs like this one a process should train as one program, at most `most`; 1: each by itself.

    Measured here (`costs`): more members where a member's step gains 10 % by them. Steps that leave the processor idle do:
    on a CPU those below about 0.2 GFLOP.
    """
    best, *others = costs(config, most=most)
    for cost in others:
        best = cost if best.seconds >= GAIN * cost.seconds else best
    return best.members


def costs(config: TrainConfig, *, most: int = 64) -> tuple[Cost, ...]:
    """The cost of a step for 1, 4, 8, 16, ... members on the config's device, for as long as more of them gain 10 %.

    Takes up to a few seconds, once for a program and process. On a CPU these are seconds of one thread, as a population has.
    """
    key = (program(config), most)
    if key not in _measured:
        with joined(replace(config, parallel="none", threads=1)) as world:
            _measured[key] = tuple(_walk(config, world, most))
    return _measured[key]


def _walk(config: TrainConfig, world: World, most: int) -> Iterator[Cost]:
    steppers = [_stepper(config, world, 0)]
    best = _seconds(lambda: steppers[0].step(0), world)
    yield Cost(1, best)
    members = min(FIRST, most)
    while members > 1 and best < SLOW and alone(config) is None and _fits(steppers[0], members):
        steppers += [_stepper(config, world, seed) for seed in range(len(steppers), members)]
        try:
            seconds = _seconds(_population_step(steppers), world) / members
        except torch.OutOfMemoryError:
            return
        yield Cost(members, seconds)
        if best < GAIN * seconds:
            return
        best, members = seconds, min(2 * members, most) if members < most else 0


def _population_step(steppers: list[Stepper]) -> Callable[[], object]:
    """A step of a population of them."""
    population, first = Members(steppers), [0] * len(steppers)
    return lambda: population.step(first)


def _stepper(config: TrainConfig, world: World, seed: int) -> Stepper:
    """A run on made-up data, which cost what others do."""
    config = replace(config, seed=seed, out=None, precision=precision_of(config, world.device))
    count = (config.batch_sequences + 2) * config.seq_len
    tokens = np.random.default_rng(seed).integers(config.shape.vocab, size=count)
    return Stepper(config, world, Batches(tokens, seq_len=config.seq_len, seed=seed))


def _fits(stepper: Stepper, members: int) -> bool:
    """Whether so many members fit a processor's memory; an accelerator says so itself."""
    params = sum(parameter.numel() for parameter in stepper.parameters)
    return not stepper.on_cpu or members * params * STATE <= CPU_MEMORY


def _seconds(step: Callable[[], object], world: World) -> float:
    """The least mean time of a step over a few blocks of steps."""
    step()
    count = max(1, round(BLOCK / max(_block(step, 1, world), 1e-6)))
    return min(_block(step, count, world) for _ in range(BLOCKS)) / count


def _block(step: Callable[[], object], count: int, world: World) -> float:
    """Seconds of some steps; on a CPU those of this process, whatever others do meanwhile."""
    clock = time.process_time if world.device.type == "cpu" else time.perf_counter
    _wait(world)
    began = clock()
    for _ in range(count):
        step()
    _wait(world)
    return clock() - began


def _wait(world: World) -> None:
    if world.device.type == "cuda":
        ops.cuda.synchronize(world.device)
